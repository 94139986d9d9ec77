"""The demo: studies that ship, an archive that stands in for a PACS, a worklist and a page. Nothing else uses it."""
