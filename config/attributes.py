"""Names of DICOM attributes as routes write them: a keyword of PS3.6, or GGGGEEEE in hexadecimal."""

import difflib
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydicom.tag import BaseTag

_HEXADECIMAL = re.compile(r"^[0-9A-Fa-f]{8}$")
_SEQUENCE = "SQ"


def attribute_tags(path: str) -> "tuple[BaseTag, ...]":
    """Return the tags that a path such as `RequestAttributesSequence.RequestedProcedureDescription` walks through.

    Raises:
        ValueError: a part is no keyword of the dictionary and no GGGGEEEE, or something is looked for in an attribute that
            is known not to be a sequence.
    """
    names = path.split(".")
    tags = tuple(_tag(name) for name in names)
    for name, tag in zip(names[:-1], tags[:-1], strict=True):
        if _value_representation(tag) not in {_SEQUENCE, None}:
            raise ValueError(f"{name} is not a sequence, so nothing can be looked for in it")
    return tags


def is_sequence(path: str) -> bool:
    """True if the last attribute of the path is known to be a sequence."""
    return _value_representation(attribute_tags(path)[-1]) == _SEQUENCE


def _tag(name: str) -> "BaseTag":
    # Not above: pydicom takes 40 MB, and the receivers read settings but no routes.
    from pydicom.datadict import tag_for_keyword  # noqa: PLC0415
    from pydicom.tag import Tag  # noqa: PLC0415

    if _HEXADECIMAL.match(name):
        return Tag(int(name, 16))
    tag = tag_for_keyword(name)
    if tag is None:
        raise ValueError(f"{name!r} is not a DICOM keyword and not GGGGEEEE{_suggestion(name)}")
    return Tag(tag)


def _suggestion(name: str) -> str:
    from pydicom.datadict import keyword_dict  # noqa: PLC0415

    close = difflib.get_close_matches(name, keyword_dict, n=1, cutoff=0.8)
    return f"; did you mean {close[0]!r}?" if close else "; see PS3.6 section 6 for the keywords"


def _value_representation(tag: "BaseTag") -> str | None:
    from pydicom.datadict import dictionary_VR  # noqa: PLC0415

    try:
        return dictionary_VR(tag)
    except KeyError:
        return None
