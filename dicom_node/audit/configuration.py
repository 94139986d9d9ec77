"""Changes of the configuration, noticed at the start: the settings and what they refer to, by digest."""

import hashlib
from pathlib import Path

import msgspec

from config.catalogue import Catalogue
from config.schema import Settings
from dicom_node.audit import record, trail_folder
from dicom_node.audit.events import SettingsChanged
from dicom_node.audit.trail import replace_file

_NAME = "settings.sha256"


def tell_settings(settings: Settings, catalogue: Catalogue, path: Path | None) -> None:
    """Record it if the node starts with other settings, routes, models, prompts or calibrations than the last time."""
    if not settings.audit.enabled:
        return
    kept = trail_folder(settings) / _NAME
    before = kept.read_text(encoding="ascii").strip() if kept.exists() else ""
    now = _digest(settings, catalogue)
    if before == now:
        return
    where = path.absolute().as_uri() if path else "urn:dicom-node:defaults"
    if record(SettingsChanged(path=where, before=before, now=now)):
        replace_file(kept, now.encode("ascii"))


def _digest(settings: Settings, catalogue: Catalogue) -> str:
    parts = [settings, *catalogue.routes, *catalogue.manifests, *catalogue.prompt_sets, *catalogue.calibrations]
    plain = [part.model_dump(mode="json") for part in parts]
    return hashlib.sha256(msgspec.json.encode(plain, order="deterministic")).hexdigest()
