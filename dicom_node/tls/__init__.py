"""TLS in both directions, and the files that it takes."""
