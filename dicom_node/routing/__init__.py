"""Which instances of a study go where, and why. Read `rules` first."""
