"""Artefacts of detectors, files and screens, made on purpose: known kind, known strength. The pixel checks are judged on them.

Beside `degradations`, whose faults a model is taught: these are seen at full resolution, or are no fault of the image's content.
"""

import io
import math
from collections.abc import Callable, Mapping
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Artefact = Literal[
    "black",
    "flat",
    "clipped",
    "compressed",
    "grid-lines",
    "dead-line",
    "double-exposure",
    "wide-field",
    "annotated",
    "coloured",
    "text-page",
    "screen",
]
Pixels = NDArray[np.float32]

ARTEFACTS: tuple[Artefact, ...] = get_args(Artefact)
GREY_ONLY = frozenset[Artefact]({"grid-lines", "dead-line", "double-exposure", "wide-field", "annotated", "coloured"})

_WHITE = 255
_MARKERS = ((255, 255, 0), (255, 0, 0), (0, 255, 0), (0, 255, 255), (255, 128, 0))
_WORDS = ("report", "findings", "impression", "comparison", "technique", "contrast", "dose", "series", "total", "mGy", "protocol", "scan")


def spoil(pixels: Pixels, artefact: Artefact, strength: float, rng: np.random.Generator) -> Pixels:
    """Return a copy of an image with an artefact.

    `pixels`: float32 in [0, 1], 0 = black, `(rows, columns)` or `(rows, columns, 3)`. `strength` in (0, 1] grows from barely visible to
    gross. `coloured` and `annotated` make a grey image one of three channels, `text-page` and `screen` keep nothing but its size.

    Raises:
        ValueError: the strength is outside (0, 1].
    """
    if not 0 < strength <= 1:
        raise ValueError(f"strength {strength} is not in (0, 1]")
    made = _MAKE[artefact](pixels, strength, rng)
    return np.ascontiguousarray(np.clip(made, 0, 1), dtype=np.float32)


def _black(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Nothing but a trace of the image and a little noise: 4 to 0 % of its contrast."""
    return pixels * np.float32(0.04 * (1 - strength)) + rng.normal(0, 0.01, pixels.shape).astype(np.float32)


def _flat(pixels: Pixels, strength: float, _rng: np.random.Generator) -> Pixels:
    """A third to a tenth of the contrast, about the image's mean."""
    middle = np.float32(pixels.mean())
    return middle + (pixels - middle) * np.float32(0.4 - 0.34 * strength)


def _clipped(pixels: Pixels, strength: float, _rng: np.random.Generator) -> Pixels:
    """A window that is too bright: 1.3 to 2.5 times the brightness."""
    return pixels * np.float32(1.2 + 1.3 * strength)


def _compressed(pixels: Pixels, strength: float, _rng: np.random.Generator) -> Pixels:
    """Through JPEG of quality 24 down to 4."""
    return _through_jpeg(_picture(pixels), round(4 + 20 * (1 - strength)))


def _grid_lines(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """The shadow of a grid: a wave of 0.5 to 4 % of full brightness, 2.5 to 8 pixels long, along rows or columns."""
    phase, pitch = rng.uniform(0, 2 * math.pi), rng.uniform(2.5, 8)
    axis = int(rng.integers(2))
    wave = np.sin(2 * math.pi * np.arange(pixels.shape[axis]) / pitch + phase).astype(np.float32)
    shadowed: Pixels = pixels + np.float32(0.002 + 0.038 * strength) * (wave[:, None] if axis == 0 else wave[None, :])
    return shadowed


def _dead_line(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """One row or column, or half of one, that differs from its neighbours by 2 to 30 % of full brightness; the grossest is constant."""
    faulty = pixels.copy()
    turned = faulty if rng.random() < 0.5 else faulty.T  # noqa: PLR2004 - as often rows as columns
    line = int(rng.integers(turned.shape[0] // 8, turned.shape[0] - turned.shape[0] // 8))
    width = turned.shape[1]
    part = slice(0, width) if rng.random() < 0.5 else slice(0, width // 2)  # noqa: PLR2004
    if strength == 1:
        turned[line, part] = np.float32(rng.integers(2))
    else:
        sign = np.where(turned[line, part].mean() > 0.5, -1, 1)  # noqa: PLR2004 - away from the end of the range
        turned[line, part] += np.float32(sign * (0.02 + 0.28 * strength**2))
    return faulty


def _double_exposure(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """A second exposure of the same patient, who moved by 4 to 15 % of the shorter side; it has 10 to 50 % of the exposure."""
    angle, length = rng.uniform(0, 2 * math.pi), rng.uniform(0.04, 0.15) * min(pixels.shape[:2])
    moved = np.roll(pixels, (round(length * math.sin(angle)), round(length * math.cos(angle))), (0, 1))
    weight = np.float32(0.1 + 0.4 * strength)
    return pixels * (1 - weight) + moved * weight


def _wide_field(pixels: Pixels, strength: float, _rng: np.random.Generator) -> Pixels:
    """The same patient in a field 1.2 to 3 times as wide and high: the rest is air."""
    rows, columns = pixels.shape[:2]
    factor = 1 / (1.2 + 1.8 * strength)
    small = np.asarray(Image.fromarray(pixels).resize((max(1, round(columns * factor)), max(1, round(rows * factor)))))
    field = np.zeros_like(pixels)
    top, left = (rows - small.shape[0]) // 2, (columns - small.shape[1]) // 2
    field[top : top + small.shape[0], left : left + small.shape[1]] = small
    return field


def _annotated(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """One to five arrows as a reader draws them, in one colour, 0.4 to 1 % of the shorter side thick."""
    image = _picture(pixels).convert("RGB")
    draw, side = ImageDraw.Draw(image), min(image.size)
    width, fill = max(1, round(side * (0.004 + 0.006 * strength))), _MARKERS[rng.integers(len(_MARKERS))]
    for _ in range(1 + round(4 * strength)):
        x, y = rng.uniform(0.15, 0.85) * image.width, rng.uniform(0.15, 0.85) * image.height
        angle, length = rng.uniform(0, 2 * math.pi), side * rng.uniform(0.12, 0.2 + 0.3 * strength)
        end = x + length * math.cos(angle), y + length * math.sin(angle)
        draw.line((x, y, *end), fill=fill, width=width)
        for turn in (-0.5, 0.5):  # the head of an arrow
            back = angle + math.pi + turn
            draw.line((*end, end[0] + length / 6 * math.cos(back), end[1] + length / 6 * math.sin(back)), fill=fill, width=width)
    return _floats(image)


def _coloured(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Three channels that differ, as of a photograph: 5 to 60 % apart."""
    tint = rng.permutation(np.array([1.0, 1 - 0.35 * strength, 1 - 0.7 * strength], dtype=np.float32))
    tinted: Pixels = pixels[..., None] * tint if pixels.ndim == 2 else pixels * tint  # noqa: PLR2004 - rows and columns
    return tinted


def _text_page(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """A page of text instead of the image, black on white or white on black; the stronger, the more lines."""
    dark = rng.random() < 0.5  # noqa: PLR2004
    rows, columns = pixels.shape[:2]
    page = Image.new("L", (columns, rows), 0 if dark else _WHITE)
    draw, size = ImageDraw.Draw(page), max(7.0, min(rows, columns) * rng.uniform(0.02, 0.045))
    font = ImageFont.load_default(size=size)
    for number in range(round((0.2 + 0.8 * strength) * rows / (1.5 * size)) - 1):
        words = " ".join(rng.choice(_WORDS, 12)) + f" {rng.integers(10000)}"
        draw.text((0.05 * columns, (1 + 1.5 * number) * size), words[: int(rng.integers(20, 70))], fill=_WHITE if dark else 0, font=font)
    made = _floats(page) if rng.random() < 0.5 else _through_jpeg(page, 85)  # noqa: PLR2004 - as often compressed as not
    return made if pixels.ndim == 2 else np.repeat(made[..., None], 3, axis=-1)  # noqa: PLR2004 - rows and columns


def _screen(pixels: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """A window of a desktop: flat areas, frames, buttons, a table of numbers; the stronger, the more of them."""
    rows, columns = pixels.shape[:2]
    page = Image.new("RGB", (columns, rows), tuple(int(value) for value in rng.integers(150, 245, 3)))
    draw, size = ImageDraw.Draw(page), max(7.0, min(rows, columns) * 0.03)
    font = ImageFont.load_default(size=size)
    draw.rectangle((0, 0, columns, 2 * size), fill=tuple(int(value) for value in rng.integers(20, 120, 3)))
    for _ in range(3 + round(9 * strength)):
        left, top = rng.uniform(0, 0.8) * columns, rng.uniform(0.1, 0.8) * rows
        right, bottom = left + rng.uniform(0.1, 0.4) * columns, top + rng.uniform(0.05, 0.3) * rows
        draw.rectangle((left, top, right, bottom), fill=tuple(int(value) for value in rng.integers(90, 256, 3)), outline=(60, 60, 60))
        draw.text((left + 3, top + 3), f"{rng.choice(_WORDS)} {rng.integers(1000)}", fill=(0, 0, 0), font=font)
    return _floats(page.convert("L")) if pixels.ndim == 2 else _floats(page)  # noqa: PLR2004


def _picture(pixels: Pixels) -> Image.Image:
    return Image.fromarray(np.rint(np.clip(pixels, 0, 1) * _WHITE).astype(np.uint8))


def _through_jpeg(image: Image.Image, quality: int) -> Pixels:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return _floats(Image.open(file))


def _floats(image: Image.Image) -> Pixels:
    return np.asarray(image, dtype=np.float32) / np.float32(_WHITE)


_Make = Callable[[Pixels, float, np.random.Generator], Pixels]
_MAKE: Mapping[Artefact, _Make] = {
    "black": _black,
    "flat": _flat,
    "clipped": _clipped,
    "compressed": _compressed,
    "grid-lines": _grid_lines,
    "dead-line": _dead_line,
    "double-exposure": _double_exposure,
    "wide-field": _wide_field,
    "annotated": _annotated,
    "coloured": _coloured,
    "text-page": _text_page,
    "screen": _screen,
}
