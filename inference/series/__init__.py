"""Where the slices of a series lie, by their headers. Read `geometry` first."""
