"""Published weights made into what this node loads: one registry, one importer for each family.

The files are read in a process of their own (`python -m inference.importing`), which writes safetensors and nothing else that could
run. An importer says what a family's published files look like, which names the adapter wants, and what they state.
"""

import importlib
from collections.abc import Mapping
from typing import Protocol, cast

from inference.golden import Golden
from inference.importing.published import Conversion, ImportRefusedError, Json, Published, PublishedCheckpoint

__all__ = ["IMPORTERS", "FamilyImporter", "ImportRefusedError", "importer_of"]


class FamilyImporter(Protocol):
    """What a module in `inference.importing.families` has."""

    GOLDEN_FAMILIES: tuple[str, ...]
    """What `family` of a golden.json may say for this family."""

    def recognises(self, checkpoint: PublishedCheckpoint, published: Published) -> bool:
        """Return whether the files are of this family beyond doubt."""
        ...

    def convert(self, checkpoint: PublishedCheckpoint, published: Published) -> Conversion:
        """Return what the adapter wants of one checkpoint, and the facts that the published files state.

        Raises:
            ImportRefusedError: the files are not of this family, or contradict each other.
        """
        ...

    def golden_architecture(self, golden: Golden) -> Mapping[str, Json]:
        """Return the fields of the family's section of `config.architecture` that a golden.json states."""
        ...


IMPORTERS: Mapping[str, str] = {
    "flair": "inference.importing.families.flair",
    "hf_clip": "inference.importing.families.hf_clip",
    "keep": "inference.importing.families.keep",
    "medclip": "inference.importing.families.medclip",
    "open_clip": "inference.importing.families.open_clip",
    "openai_clip": "inference.importing.families.openai_clip",
    "ret_clip": "inference.importing.families.ret_clip",
    "siglip": "inference.importing.families.siglip",
    "unimed_clip": "inference.importing.families.unimed_clip",
}


def importer_of(family: str) -> FamilyImporter:
    """Return the importer of a family.

    Raises:
        ImportRefusedError: there is none.
    """
    if family not in IMPORTERS:
        raise ImportRefusedError(f"there is no importer for family {family!r}; known are: {', '.join(IMPORTERS)}")
    return cast("FamilyImporter", importlib.import_module(IMPORTERS[family]))
