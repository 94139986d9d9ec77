"""What a golden.json states of its model, as facts of a manifest."""

import re
from collections.abc import Callable, Mapping

from inference.golden import Golden, GoldenError
from inference.golden.folder import Json as Told
from inference.importing import IMPORTERS, importer_of
from inference.importing.published import Fact, Json, facts

_ORIGIN = "golden.json"


def golden_family(golden: Golden) -> str:
    """Return the family of the reference outputs.

    Raises:
        GoldenError: no importer is for it.
    """
    known = [family for family in IMPORTERS if golden.family in importer_of(family).GOLDEN_FAMILIES]
    if not known:
        raise GoldenError(f"{golden.folder}: family {golden.family!r} is not one that this node imports: {', '.join(IMPORTERS)}")
    return known[0]


def golden_facts(golden: Golden, family: str) -> tuple[Fact, ...]:
    """Return what golden.json states of architecture, preprocessing, tokenizer and scale.

    Raises:
        GoldenError: it names a way of resizing that this node does not know, or lacks a field of that way.
    """
    try:
        return (
            *facts("architecture", _ORIGIN, **importer_of(family).golden_architecture(golden), logit_scale=_logit_scale(golden)),
            *facts("preprocessing", _ORIGIN, **_preprocessing(golden)),
            *facts("tokenizer", _ORIGIN, **_tokenizer(golden)),
        )
    except (KeyError, TypeError, IndexError) as exc:
        raise GoldenError(f"{golden.folder}: golden.json lacks a field of its architecture, preprocess or tokenizer ({exc!r})") from exc


def _logit_scale(golden: Golden) -> Mapping[str, Json]:
    scoring = golden.scoring
    if "temperature_factor" in scoring:
        return {"kind": "fixed", "factor": float(scoring["temperature_factor"])}
    if not scoring.get("clamped"):
        return {"kind": "stored"}
    bounds = re.search(r"clamp\(logit_scale,\s*([\d.]+),\s*([\d.]+)\)", scoring["formula"])
    if bounds is None:
        raise GoldenError(f"{golden.folder}: scoring is clamped, but its formula does not say clamp(logit_scale, LOW, HIGH)")
    return {"kind": "clamped", "lowest_ln": float(bounds[1]), "highest_ln": float(bounds[2])}


def _preprocessing(golden: Golden) -> Mapping[str, Json]:
    told = golden.preprocess
    mode = told["resize_mode"]
    if mode not in _WAYS:
        raise GoldenError(f"{golden.folder}: preprocess.resize_mode {mode!r} is not one of {', '.join(_WAYS)}")
    return {"image_size": told["image_size"], "mean": told["mean"], "std": told["std"], **_WAYS[mode](told)}


def _filter(told: Mapping[str, Told]) -> str:
    name: str = told["interpolation"]
    return name.split(maxsplit=1)[0].lower()


def _shortest(told: Mapping[str, Told]) -> Mapping[str, Json]:
    crop = " ".join(step for step in told["steps"] if "crop" in step)
    return {"resize_mode": "shortest", "interpolation": _filter(told), "crop_offset": "floor" if "//2" in crop else "round"}


def _canvas(told: Mapping[str, Told]) -> Mapping[str, Json]:
    first, second = (name.lower() for name in re.findall(r"(\w+) \(stage", told["interpolation"]))
    side = next(found for step in told["steps"] if (found := re.search(r"(\d+)x\1\b", step)))[1]
    return {
        "resize_mode": "grey-canvas",
        "canvas_size": int(side),
        "canvas_interpolation": first,
        "interpolation": second,
        "antialias": told["antialias"]["stage_2"],
    }


_WAYS: Mapping[str, Callable[[Mapping[str, Told]], Mapping[str, Json]]] = {
    "shortest": _shortest,
    "longest": lambda told: {"resize_mode": "longest", "interpolation": _filter(told)},
    "squash": lambda told: {"resize_mode": "squash", "interpolation": _filter(told)},
    "pad_square_then_squash": lambda told: {"resize_mode": "padded-square", "interpolation": _filter(told)},
    "pad_square_then_resize": lambda told: {"resize_mode": "grey-square", "interpolation": _filter(told)},
    "pad_square_then_tensor_resize": _canvas,
    "longest_side_then_pad_right_bottom": lambda told: {
        "resize_mode": "corner",
        "interpolation": _filter(told),
        "antialias": told["antialias"],
    },
}


def _tokenizer(golden: Golden) -> Mapping[str, Json]:
    """What holds for every family; padding to the longest of a group is the importer's, which knows the group."""
    told = golden.tokenizer
    found: dict[str, Json] = {"context_length": told["context_length"]}
    if told["kind"] == "clip_bpe":
        found["pad_id"] = told["pad_id"]
    elif str(told["kind"]).startswith("wordpiece"):
        found["lower_case"] = told["lowercase"]
    return found
