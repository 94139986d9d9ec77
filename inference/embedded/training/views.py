"""From a row of the pack to a picture with known faults, and what is true of it."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from inference.damage.degradations import KINDS, MEDICAL_KINDS, WITHOUT_STRENGTH, Kind, applies, degrade
from inference.embedded.training.pack import PackRow
from inference.embedded.training.words import CLAIM_NUMBER, CLAIMS, FINDINGS, KIND_NUMBER, KINDS_OF_IMAGE

TRUE, FALSE, UNKNOWN = 1, 0, -1
SIDE = 128

_BARELY = 0.3  # below this strength a fault may be overlooked without being wrong
_GROSS = 0.8
_BLANKS, _FAULTY, _TWO_FAULTS = 0.015, 0.65, 0.2
_HARD: frozenset[Kind] = frozenset({"blurred", "motion-blurred", "burnt-in-text", "cropped", "upside-down"})  # shown twice as often
_LATER_FAULTS: tuple[Kind, ...] = ("rotated-90", "upside-down", "rotated-270", "blurred", "noisy", "burnt-in-text", "cropped")
_QUARTERS: frozenset[Kind] = frozenset({"rotated-90", "rotated-270"})
_TURNS: frozenset[Kind] = _QUARTERS | {"upside-down"}
_KEEPS_ITS_SIDES = frozenset({"document", "screenshot", "viewer-screen-capture"})
_OF_ANY_COLOUR = frozenset({"screenshot", "texture", "photograph"})
_RADIOGRAPHS = frozenset({"chest-radiograph", "hand-radiograph", "knee-radiograph", "shoulder-radiograph", "mammogram"})

# What a finding of the pack says about the findings that are taught: (name, present or not). Others say nothing.
_FINDINGS = {
    "bacterial pneumonia": ("pneumonia", TRUE),
    "viral pneumonia": ("pneumonia", TRUE),
    "melanoma": ("melanoma", TRUE),
    "melanocytic nevus": ("melanoma", FALSE),
    "colon polyp": ("colon-polyp", TRUE),
    "ulcerative colitis grade 1": ("colon-polyp", FALSE),
    "ulcerative colitis grade 2": ("colon-polyp", FALSE),
    "ulcerative colitis grade 2-3": ("colon-polyp", FALSE),
    "ulcerative colitis grade 3": ("colon-polyp", FALSE),
    "knee osteoarthritis": ("knee-osteoarthritis", TRUE),
}
_NORMAL = {"chest-radiograph": "pneumonia", "knee-radiograph": "knee-osteoarthritis"}
_FINDING_NUMBER = {finding.name: number for number, finding in enumerate(FINDINGS)}


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What the model is shown, and what is known about it.

    `pixels`: uint8 `(SIDE, SIDE, 3)`. `kind`: number in `KINDS_OF_IMAGE`. `claims` and `findings`: int8, TRUE, FALSE or UNKNOWN for each
    of `CLAIMS` and `FINDINGS`.
    """

    pixels: NDArray[np.uint8]
    kind: int
    claims: NDArray[np.int8]
    findings: NDArray[np.int8]


def make_view(row: PackRow, rng: np.random.Generator) -> View:
    """Return the row's image, varied as clean images vary, with no, one or two faults; sometimes a blank image instead."""
    if rng.random() < _BLANKS:
        return blank_view(rng)
    pixels, softened = _varied(_decoded(row), row, rng)
    known = possible_faults(row)
    faults: list[tuple[Kind, float]] = []
    if known and rng.random() < _FAULTY:
        weights = np.array([2.0 if kind in _HARD else 1.0 for kind in known])
        faults.append((known[rng.choice(len(known), p=weights / weights.sum())], rng.uniform(0.1, 1)))
        later = [kind for kind in _LATER_FAULTS if kind in known and kind != faults[0][0] and not {kind, faults[0][0]} <= _TURNS]
        if later and rng.random() < _TWO_FAULTS:
            faults.append((later[rng.integers(len(later))], rng.uniform(0.1, 1)))
    for kind, strength in faults:
        pixels = degrade(pixels, kind, strength, rng, modality=row.modality)
    return View(
        pixels=_shown(pixels), kind=KIND_NUMBER[row.kind], claims=_claims(row, known, faults, softened), findings=known_findings(row)
    )


def possible_faults(row: PackRow) -> tuple[Kind, ...]:
    """The faults whose presence and absence can both be shown with this row."""
    return tuple(kind for kind in KINDS if applies(kind, row.kind) and not _undecidable(kind, row))


def _undecidable(kind: Kind, row: PackRow) -> bool:
    if row.altered:
        return True
    match kind:
        case "rotated-90" | "upside-down" | "rotated-270":
            return not row.upright
        case "inverted":
            return not row.usual_grayscale
        case "blurred" | "motion-blurred":
            return row.small
        case "cropped":
            return not row.whole
        case _:
            return False


class _Claims:
    """What is known of an image, by name."""

    def __init__(self) -> None:
        self.values = np.full(len(CLAIMS), UNKNOWN, dtype=np.int8)

    def say(self, value: int, *names: str) -> None:
        for name in names:
            self.values[CLAIM_NUMBER[name]] = value


def _claims(row: PackRow, known: Sequence[Kind], faults: Sequence[tuple[Kind, float]], softened: bool) -> NDArray[np.int8]:
    claims = _Claims()
    medical = KINDS_OF_IMAGE[KIND_NUMBER[row.kind]].medical
    if medical is not None:
        claims.say(FALSE if medical else TRUE, "not-a-medical-image")
    claims.say(FALSE, "blank", *known)
    visible = {kind for kind, strength in faults if kind in WITHOUT_STRENGTH or strength >= _BARELY}
    present = {kind for kind, _ in faults}
    claims.say(UNKNOWN, *_hidden_by(faults, softened=softened))
    claims.say(UNKNOWN, *(present - visible))
    claims.say(TRUE, *visible)
    if "rotated-90" in known:
        claims.say(TRUE if present & _TURNS else FALSE, "rotated")
        claims.say(TRUE if present & _QUARTERS else FALSE, "sideways")
    if row.kind in MEDICAL_KINDS and not row.altered:
        clean = not present and not softened and not row.small
        claims.say(TRUE if visible else FALSE if clean else UNKNOWN, "poor-quality")
    return claims.values


def _hidden_by(faults: Sequence[tuple[Kind, float]], *, softened: bool) -> set[str]:
    """What cannot be said any more because of the faults."""
    present = {kind for kind, _ in faults}
    hidden: set[str] = set()
    if present & {"under-exposed", "over-exposed"}:
        hidden.add("noisy")
    if any(strength > _GROSS and kind in {"under-exposed", "over-exposed"} for kind, strength in faults):
        hidden.add("blank")
    if softened or present & {"cropped", "blurred", "motion-blurred"}:  # what is cropped is enlarged: softer than it was
        hidden |= {"blurred", "motion-blurred"}
    return hidden


def known_findings(row: PackRow) -> NDArray[np.int8]:
    """Return TRUE, FALSE or UNKNOWN for each of `FINDINGS`, int8."""
    findings = np.full(len(FINDINGS), UNKNOWN, dtype=np.int8)
    if row.finding is not None:
        name, value = _FINDINGS.get(row.finding, ("", UNKNOWN))
        if row.finding == "normal":
            name, value = _NORMAL.get(row.kind, ""), FALSE
        if name:
            findings[_FINDING_NUMBER[name]] = value
    return findings


def blank_view(rng: np.random.Generator) -> View:
    """Return an image of one grey, with a little noise and a little slope."""
    level = rng.choice([0.0, 1.0, rng.random()])
    pixels = np.full((SIDE, SIDE), level, dtype=np.float32) + rng.normal(0, rng.uniform(0, 0.02), (SIDE, SIDE)).astype(np.float32)
    slope = np.linspace(-1, 1, SIDE, dtype=np.float32) * np.float32(rng.uniform(0, 0.04))
    claims = np.full(len(CLAIMS), UNKNOWN, dtype=np.int8)
    claims[CLAIM_NUMBER["blank"]] = TRUE
    return View(
        pixels=_shown(np.clip(pixels + slope, 0, 1)),
        kind=KIND_NUMBER["blank"],
        claims=claims,
        findings=np.full(len(FINDINGS), UNKNOWN, dtype=np.int8),
    )


def _decoded(row: PackRow) -> NDArray[np.float32]:
    return np.asarray(Image.open(io.BytesIO(row.image)), dtype=np.float32) / np.float32(255)


def _varied(pixels: NDArray[np.float32], row: PackRow, rng: np.random.Generator) -> tuple[NDArray[np.float32], bool]:
    """Vary as scanners, projections and viewers do, within what nobody would call a fault. Tells also if detail was lost."""
    if row.kind not in _KEEPS_ITS_SIDES and rng.random() < 0.5:  # noqa: PLR2004
        pixels = pixels[:, ::-1]
    trim = 0.05 if applies("cropped", row.kind) else 0.12 if row.kind in _KEEPS_ITS_SIDES else 0.3
    pixels = _trimmed(pixels, rng.uniform(0, trim, 4) * rng.random())
    if rng.random() < 0.4:  # noqa: PLR2004
        pixels = _tilted(pixels, rng.normal(0, 4))
    if row.modality == "CT" and rng.random() < 0.5:  # noqa: PLR2004
        pixels = _windowed(pixels, rng)
    if row.kind in _OF_ANY_COLOUR:
        pixels = _recoloured(pixels, rng)
    pixels = _toned(pixels, rng)
    if row.kind in _RADIOGRAPHS and rng.random() < 0.15:  # noqa: PLR2004
        pixels = _with_side_marker(pixels, rng)
    if rng.random() < 0.15:  # noqa: PLR2004
        pixels = _framed(pixels, rng)
    softened = bool(rng.random() < 0.2)  # noqa: PLR2004
    if softened:
        pixels = _softened(pixels, rng)
    return np.ascontiguousarray(pixels), softened


def _trimmed(pixels: NDArray[np.float32], shares: NDArray[np.float64]) -> NDArray[np.float32]:
    rows, columns = pixels.shape[:2]
    top, right, bottom, left = shares / 2
    return pixels[round(top * rows) : rows - round(bottom * rows), round(left * columns) : columns - round(right * columns)]


def _tilted(pixels: NDArray[np.float32], degrees: float) -> NDArray[np.float32]:
    image = _image(pixels)
    corner = image.getpixel((0, 0))
    return _array(image.rotate(degrees, Image.Resampling.BILINEAR, fillcolor=corner))


def _windowed(pixels: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Another window: much of the pack's CT has air in mid grey, most of the world's has it black."""
    low, high = rng.uniform(0, 0.45), rng.uniform(0.75, 1)
    return np.asarray(np.clip((pixels - np.float32(low)) / np.float32(high - low), 0, 1))


def _recoloured(pixels: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Colours exchanged, light turned to dark, or no colour at all: what is left is what it shows."""
    if pixels.ndim > 2 and rng.random() < 0.5:  # noqa: PLR2004
        pixels = pixels[..., rng.permutation(3)]
    if pixels.ndim > 2 and rng.random() < 0.25:  # noqa: PLR2004
        pixels = pixels.mean(axis=-1)
    return 1 - pixels if rng.random() < 0.25 else pixels  # noqa: PLR2004


def _toned(pixels: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    gamma, contrast, brightness = math.exp(rng.normal(0, 0.18)), rng.uniform(0.8, 1.2), rng.normal(0, 0.035)
    toned = (pixels ** np.float32(gamma) - np.float32(0.5)) * np.float32(contrast) + np.float32(0.5 + brightness)
    if pixels.ndim > 2:  # noqa: PLR2004 - colour casts
        toned = toned * rng.uniform(0.9, 1.1, 3).astype(np.float32)
    return np.asarray(np.clip(toned, 0, 1))


def _with_side_marker(pixels: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    image = _image(pixels)
    font = ImageFont.load_default(size=max(6, min(image.size) * rng.uniform(0.05, 0.1)))
    x, y = rng.choice([0.04, 0.86]) * image.width, rng.uniform(0.03, 0.8) * image.height
    ImageDraw.Draw(image).text((x, y), str(rng.choice(["R", "L"])), fill=235 if image.mode == "L" else (235, 235, 235), font=font)
    return _array(image)


def _framed(pixels: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    rows, columns = pixels.shape[:2]
    across = bool(rng.random() < 0.5)  # noqa: PLR2004
    width = round(rng.uniform(0.02, 0.2) * (columns if across else rows))
    margins = [(0, 0), (width, width)] if across else [(width, width), (0, 0)]
    return np.pad(pixels, margins + [(0, 0)] * (pixels.ndim - 2))


def _softened(pixels: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    image = _image(pixels)
    scale = rng.uniform(48, 100) / max(image.size)
    small = (max(8, round(image.width * scale)), max(8, round(image.height * scale)))
    return _array(image.resize(small, Image.Resampling.BICUBIC))


def _shown(pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
    image = _image(pixels).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return np.asarray(image.convert("RGB"))


def _image(pixels: NDArray[np.float32]) -> Image.Image:
    return Image.fromarray(np.rint(pixels * 255).astype(np.uint8))


def _array(image: Image.Image) -> NDArray[np.float32]:
    return np.asarray(image, dtype=np.float32) / np.float32(255)
