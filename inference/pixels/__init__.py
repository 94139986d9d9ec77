"""From the bytes of pixel data to what a reader would see: codecs, lookup tables, windows. Read `pixel_data`, then `values`."""
