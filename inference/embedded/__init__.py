"""The model that ships with the node, and the code that trained it."""
