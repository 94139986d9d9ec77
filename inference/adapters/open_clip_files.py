"""The files of open_clip's own layout, for whoever must not wait for open_clip itself."""

CONFIG_FILE = "open_clip_config.json"
TEXT_CONFIG_FILE = "config.json"  # of a text tower from Hugging Face
BUFFERS = (".position_ids", "attn_mask")  # constants that older writers stored and current modules compute
