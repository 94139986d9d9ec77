"""The processes of a node: who starts them, what each does in its rounds, how they are."""
