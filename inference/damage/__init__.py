"""Faults of images, made on purpose: what checks and prompts are trained and judged on."""
