"""The Standard's tables for dicom-validator, without a network: it would otherwise download PS3.3, PS3.4 and PS3.6.

Modules, attributes and types come from the tables inside highdicom; the conditions that matter to a report are written here. So this
is an independent engine, but its tables are not independent of the library that we build reports with.
"""

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import highdicom
from dicom_validator.validator.dicom_info import DicomInfo
from pydicom._uid_dict import UID_dictionary  # the only place with names of SOP classes by UID
from pydicom.datadict import DicomDictionary

_IODS = frozenset(
    {
        "comprehensive-3d-sr",
        "comprehensive-sr",
        "enhanced-sr",
        "basic-text-sr",
        "key-object-selection-document",
        "secondary-capture-image",
        "multi-frame-true-color-secondary-capture-image",
        "encapsulated-pdf",
        "grayscale-softcopy-presentation-state",
    }
)
_CONTENT_OF = {  # value type (PS3.3 C.17.3.2.1) -> what a content item of it holds
    "NUM": ("MeasuredValueSequence", "NumericValueQualifierCodeSequence"),
    "CODE": ("ConceptCodeSequence",),
    "COMPOSITE IMAGE WAVEFORM": ("ReferencedSOPSequence",),
    "SCOORD": ("GraphicData", "GraphicType", "FiducialUID", "PixelOriginInterpretation"),
    "CONTAINER": ("ContinuityOfContent", "ContentTemplateSequence"),
}
_VALUES = {"TEXT": "TextValue", "UIDREF": "UID", "PNAME": "PersonName", "DATE": "Date", "TIME": "Time", "DATETIME": "DateTime"}
_Table = dict[str, Any]


def _tag(number: int) -> str:
    return f"({number >> 16:04X},{number & 0xFFFF:04X})"


_TAGS = {values[4]: _tag(number) for number, values in DicomDictionary.items() if values[4]}


@cache
def tables() -> DicomInfo:
    """Return the tables of the document kinds that we make."""
    modules_of_iod, iod_of_class, attributes = (
        json.loads((Path(highdicom.__file__).parent / "_standard" / f"{name}.json").read_text())
        for name in ("iod_module_map", "sop_class_iod_map", "module_attribute_map")
    )
    wanted = {module["key"] for name in _IODS if name in modules_of_iod for module in modules_of_iod[name]}
    modules = {key: _module(attributes.get(key, [])) for key in sorted(wanted)}
    modules |= _content(modules["sr-document-content"])
    modules["sr-document-general"][_TAGS["VerifyingObserverSequence"]]["cond"] = _if("(0040,A493)", "VERIFIED")
    return DicomInfo(
        dictionary={
            _tag(number): {"name": values[2], "prop": values[3], "vm": values[1], "vr": values[0]}
            for number, values in DicomDictionary.items()
        },
        iods={
            uid: {"title": name, "group_macros": {}, "modules": {one["key"]: _usage(one) for one in modules_of_iod[name]}}
            for uid, name in iod_of_class.items()
            if name in _IODS and uid in UID_dictionary
        },
        modules=modules,
    )


def _usage(module: _Table) -> _Table:
    conditional = {"cond": {"type": "U"}} if module["usage"] == "C" else {}
    return {"ref": module["key"], "use": module["usage"], **conditional}


def _module(attributes: Iterable[_Table]) -> _Table:
    root: _Table = {}
    for attribute in sorted(attributes, key=lambda one: len(one["path"])):
        node = root
        for keyword in attribute["path"]:
            node = node.get(_TAGS.get(keyword, ""), {}).setdefault("items", {})
        if attribute["keyword"] in _TAGS:
            node[_TAGS[attribute["keyword"]]] = {"name": attribute["keyword"], "type": attribute["type"] or "3"}
    return root


def _content(root: _Table) -> _Table:
    """The content item macros: what an item holds follows from its value type, and items hold items (PS3.3 C.17.3)."""
    macros = {f"SR {types}": {_TAGS[name]: _plain(root[_TAGS[name]]) for name in names} for types, names in _CONTENT_OF.items()}
    macros |= {f"SR {value_type}": {_TAGS[name]: {"name": name, "type": "1"}} for value_type, name in _VALUES.items()}
    of_type = [{"ref": name, "cond": _if("(0040,A040)", *name.split()[1:])} for name in macros]
    item = {_TAGS[name]: _plain(root[_TAGS[name]]) for name in ("ValueType", "ConceptNameCodeSequence")}
    child = {"(0040,A010)": {"name": "Relationship Type", "type": "1"}, "include": [{"ref": "SR item"}, {"ref": "SR tree"}]}
    return {
        **macros,
        "SR item": {**item, "include": of_type},
        "SR tree": {"(0040,A730)": {"name": "Content Sequence", "type": "3", "items": child}},
        "sr-document-content": {"include": [{"ref": "SR item"}, {"ref": "SR tree"}]},
    }


def _plain(attribute: _Table) -> _Table:
    return {name: value for name, value in attribute.items() if name != "cond"}


def _if(tag: str, *values: str) -> _Table:
    return {"index": 0, "op": "=", "tag": tag, "type": "MN", "values": list(values)}
