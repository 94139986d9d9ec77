"""Whole-slide images: levels of a pyramid, tissue, tiles at the model's magnification, their scores pooled and drawn on a map."""
