"""Whether a result raises a study on the reading worklist."""
