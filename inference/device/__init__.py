"""Models on the device that computes: in memory, in batches, for several threads."""
