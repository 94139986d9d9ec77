"""What is kept: the files, their agreement with the ledger, backup, and when they may go. Read `object_store` first."""
