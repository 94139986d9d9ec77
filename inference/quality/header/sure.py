"""When the model's answer about the kind of image is believed against a header."""

SURE = 0.9
