"""The importers, one file per family."""
