"""Frames in, findings out: models, prompts, quality checks, calibration. Knows no sockets, no databases, no reports."""
