"""Faults of images, made on purpose: known kind, known strength. Quality prompts are trained and judged on them.

Noise and exposure follow the modality: a radiograph is turned back into counts of photons, a photograph into linear light, an MR
magnitude gets Rician noise. Lengths are shares of the shorter side, so a strength means the same whatever the matrix.
"""

import math
from collections.abc import Callable, Mapping
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Kind = Literal[
    "rotated-90",
    "upside-down",
    "rotated-270",
    "inverted",
    "blurred",
    "motion-blurred",
    "noisy",
    "under-exposed",
    "over-exposed",
    "cropped",
    "burnt-in-text",
]
Pixels = NDArray[np.float32]

KINDS: tuple[Kind, ...] = get_args(Kind)
MEDIUM = 0.5
WITHOUT_STRENGTH = frozenset({"rotated-90", "upside-down", "rotated-270", "inverted"})

_RADIOGRAPHS = frozenset({"CR", "DX", "RG", "MG", "XA", "RF"})
_VISIBLE_LIGHT = frozenset({"XC", "ES", "OP", "SM", "GM", "DMS"})
_COUNTS = frozenset({"PT", "NM"})

_ATTENUATION = 3.0  # natural logarithm of the range of exposures that a displayed radiograph spans: about 1 to 20
_GAMMA = 2.2
_GRAIN = 160  # noise grains along the shorter side: the finest that survives the step to a model's input

_AXIAL = frozenset({"chest-ct", "abdomen-ct", "head-ct"})
_PROJECTIONS = frozenset({"chest-radiograph", "hand-radiograph", "knee-radiograph", "shoulder-radiograph", "mammogram"})
_MAGNETIC = frozenset({"brain-mr", "breast-mr", "spine-mr", "cardiac-mr", "knee-mr", "abdomen-mr"})
_ULTRASOUND = frozenset({"breast-ultrasound", "carotid-ultrasound", "fetal-head-ultrasound"})
_PHOTOGRAPHED = frozenset({"colour-fundus-photograph", "dermoscopic-image", "colonoscopy-image", "blood-smear", "histology"})
_OPTICAL_SECTIONS = frozenset({"retinal-oct"})
_OTHERS = frozenset({"pet", "coronary-angiogram", "oct-angiography"})

MEDICAL_KINDS = _AXIAL | _PROJECTIONS | _MAGNETIC | _ULTRASOUND | _PHOTOGRAPHED | _OPTICAL_SECTIONS | _OTHERS
_WITH_AN_UPRIGHT = (
    _AXIAL
    | {"chest-radiograph", "hand-radiograph", "knee-radiograph"}
    | {"brain-mr", "breast-mr", "spine-mr", "retinal-oct", "breast-ultrasound", "carotid-ultrasound"}
)
_WITH_AN_EXTENT = _AXIAL | {"chest-radiograph", "hand-radiograph", "brain-mr", "colour-fundus-photograph"}
_EXPOSED = _PROJECTIONS | _PHOTOGRAPHED | _ULTRASOUND
_OFTEN_WITH_TEXT = frozenset({"colonoscopy-image"}) | _ULTRASOUND


def applies(kind: Kind, image_kind: str) -> bool:
    """True if the fault can be decided on such an image. `image_kind` is a label of the prompt set `kind-of-image`.

    A blood smear has no upright, a PET slice no usual grayscale, a CT no exposure that brightness would tell, and an endoscopic
    frame usually carries text.
    """
    match kind:
        case "rotated-90" | "upside-down" | "rotated-270":
            return image_kind in _WITH_AN_UPRIGHT
        case "inverted":
            return image_kind in _AXIAL | _PROJECTIONS | _MAGNETIC | _ULTRASOUND | _OPTICAL_SECTIONS
        case "under-exposed" | "over-exposed":
            return image_kind in _EXPOSED
        case "cropped":
            return image_kind in _WITH_AN_EXTENT
        case "burnt-in-text":
            return image_kind in MEDICAL_KINDS - _OFTEN_WITH_TEXT
        case "blurred" | "motion-blurred" | "noisy":
            return image_kind in MEDICAL_KINDS


def degrade(pixels: Pixels, kind: Kind, strength: float, rng: np.random.Generator, *, modality: str) -> Pixels:
    """Return a faulty copy of an image.

    `pixels`: float32 in [0, 1], 0 = black, `(rows, columns)` or `(rows, columns, 3)`. `strength` in (0, 1] grows from barely visible to
    gross; rotations (clockwise) and inversion have none. `modality` is DICOM's Modality. Rows and columns of the result may differ.

    Raises:
        ValueError: the strength is outside (0, 1].
    """
    if not 0 < strength <= 1:
        raise ValueError(f"strength {strength} is not in (0, 1]")
    made = _MAKE[kind](pixels, strength, rng, modality)
    return np.ascontiguousarray(np.clip(made, 0, 1), dtype=np.float32)


def _turned(quarters: int) -> "_Make":
    return lambda pixels, _strength, _rng, _modality: np.rot90(pixels, k=-quarters)


def _inverted(pixels: Pixels, _strength: float, _rng: np.random.Generator, _modality: str) -> Pixels:
    return 1 - pixels


def _blurred(pixels: Pixels, strength: float, _rng: np.random.Generator, _modality: str) -> Pixels:
    radius = min(pixels.shape[:2]) * (0.004 + 0.026 * strength)
    return _from_8_bit(_as_8_bit(pixels).filter(ImageFilter.GaussianBlur(radius)))


def _motion_blurred(pixels: Pixels, strength: float, rng: np.random.Generator, _modality: str) -> Pixels:
    """The mean of copies along a straight path, 4 to 14 % of the shorter side long."""
    rows, columns = pixels.shape[:2]
    length = min(rows, columns) * (0.03 + 0.11 * strength)
    angle = rng.uniform(0, math.pi)
    reach = math.ceil(length / 2) + 1
    padded = np.pad(pixels, [(reach, reach), (reach, reach)] + [(0, 0)] * (pixels.ndim - 2), mode="edge")
    steps = np.linspace(-length / 2, length / 2, min(32, max(3, round(length))))
    total = np.zeros_like(pixels)
    for step in steps:
        row, column = reach + round(step * math.sin(angle)), reach + round(step * math.cos(angle))
        total += padded[row : row + rows, column : column + columns]
    return total / np.float32(len(steps))


def _noisy(pixels: Pixels, strength: float, rng: np.random.Generator, modality: str) -> Pixels:
    return _with_noise(pixels, 0.03 + 0.21 * strength, rng, modality)


def _with_noise(pixels: Pixels, deviation: float, rng: np.random.Generator, modality: str) -> Pixels:
    """`deviation`: standard deviation of the noise at mid grey, in display units."""
    grain = _grain(pixels.shape, rng) * np.float32(deviation)
    if modality in _RADIOGRAPHS:  # Poisson counts behind the object, seen through the logarithm
        return np.asarray(pixels + grain * np.exp((pixels - np.float32(0.5)) * np.float32(_ATTENUATION / 2)))
    if modality == "MR":  # the magnitude of a complex signal (Gudbjartsson and Patz, MRM 1995)
        other = _grain(pixels.shape, rng) * np.float32(deviation)
        return np.asarray(np.hypot(pixels + grain, other))
    if modality == "US":  # speckle multiplies
        return pixels * (1 + np.float32(2.5) * grain)
    if modality in _COUNTS:
        return np.asarray(pixels + grain * np.sqrt(2 * pixels + np.float32(0.02)))
    if modality in _VISIBLE_LIGHT:  # shot and read noise in linear light
        light = pixels ** np.float32(_GAMMA)
        return np.asarray(np.maximum(light + grain * (np.float32(0.1) + np.sqrt(light)), 0) ** np.float32(1 / _GAMMA))
    return pixels + grain


def _under_exposed(pixels: Pixels, strength: float, rng: np.random.Generator, modality: str) -> Pixels:
    """A radiograph turns pale and grainy, a photograph dark and grainy, an echo fades."""
    if modality in _RADIOGRAPHS:
        less = 0.15 + 0.45 * strength
        return _with_noise(pixels, 0.01 + 0.06 * strength, rng, modality) + np.float32(less)
    if modality in _VISIBLE_LIGHT:
        light = pixels ** np.float32(_GAMMA) * np.float32(2 ** -(1.0 + 3.5 * strength))
        return _with_noise(light ** np.float32(1 / _GAMMA), 0.01 + 0.03 * strength, rng, modality)
    return pixels - np.float32(0.12 + 0.45 * strength)


def _over_exposed(pixels: Pixels, strength: float, _rng: np.random.Generator, modality: str) -> Pixels:
    """A radiograph turns black from the lungs outwards, a photograph and an echo white."""
    if modality in _RADIOGRAPHS:
        return pixels - np.float32(0.15 + 0.45 * strength)
    if modality in _VISIBLE_LIGHT:
        return (pixels ** np.float32(_GAMMA) * np.float32(2 ** (0.8 + 2.7 * strength))) ** np.float32(1 / _GAMMA)
    return pixels + np.float32(0.15 + 0.45 * strength)


def _cropped(pixels: Pixels, strength: float, rng: np.random.Generator, _modality: str) -> Pixels:
    """One side is cut by 16 to 52 %, and sometimes a neighbouring one by half of that."""
    rows, columns = pixels.shape[:2]
    cut = 0.16 + 0.36 * strength
    first = rng.integers(4)
    second = (first + rng.choice([1, 3])) % 4 if rng.random() < 0.5 else None  # noqa: PLR2004
    shares = [cut if side == first else cut / 2 if side == second else 0.0 for side in range(4)]
    top, right, bottom, left = shares
    return pixels[round(top * rows) : rows - round(bottom * rows), round(left * columns) : columns - round(right * columns)]


def _with_text(pixels: Pixels, strength: float, rng: np.random.Generator, _modality: str) -> Pixels:
    """One to six lines of invented names, numbers and dates, white on dark or black on bright, mostly in the corners."""
    image = _as_8_bit(pixels)
    draw = ImageDraw.Draw(image)
    side = min(image.size)
    size = max(6.0, side * rng.uniform(0.045, 0.055 + 0.03 * strength))
    font = ImageFont.load_default(size=size)
    lines = [_invented_line(rng) for _ in range(1 + round(5 * strength * rng.uniform(0.6, 1)))]
    height = size * 1.2
    x = rng.uniform(0.01, 0.25) * image.width if rng.random() < 0.6 else rng.uniform(0.3, 0.6) * image.width  # noqa: PLR2004
    y = rng.choice([0.01, 0.99, rng.uniform(0.1, 0.8)]) * (image.height - height * len(lines))
    background = np.asarray(image.convert("L").crop((int(x), max(0, int(y)), image.width, int(y + height * len(lines)) + 1)))
    level = 255 if background.mean() < 150 else 0  # noqa: PLR2004 - as viewers and scanners write: so that it can be read
    fill = level if image.mode == "L" else (level, level, level)
    for number, line in enumerate(lines):
        draw.text((x, max(0, y) + number * height), line, fill=fill, font=font)
    return _from_8_bit(image)


def _invented_line(rng: np.random.Generator) -> str:
    letters = "".join(chr(65 + rng.integers(26)) for _ in range(rng.integers(4, 9)))
    number = rng.integers(10, 10**7)
    day, month, year = rng.integers(1, 29), rng.integers(1, 13), rng.integers(1930, 2026)
    date, exposure = f"{day:02}.{month:02}.{year}", f"kV {number % 150} mAs {day}"
    forms = (f"{letters}^{letters[::-1]}", f"ID {number}", date, f"{letters} {number}", exposure)
    return str(rng.choice(forms))


def _grain(shape: tuple[int, ...], rng: np.random.Generator) -> Pixels:
    """Noise of zero mean and unit variance, in squares where the image is finer than the grain."""
    rows, columns = shape[:2]
    scale = min(1.0, _GRAIN / min(rows, columns))
    small = (max(1, round(rows * scale)), max(1, round(columns * scale)))
    planes = [rng.standard_normal(small, dtype=np.float32) for _ in range(shape[2] if len(shape) > 2 else 1)]  # noqa: PLR2004
    if small != (rows, columns):
        planes = [np.asarray(Image.fromarray(plane).resize((columns, rows), Image.Resampling.NEAREST)) for plane in planes]
    return np.stack(planes, axis=-1) if len(shape) > 2 else planes[0]  # noqa: PLR2004


def _as_8_bit(pixels: Pixels) -> Image.Image:
    return Image.fromarray(np.rint(pixels * 255).astype(np.uint8))


def _from_8_bit(image: Image.Image) -> Pixels:
    return np.asarray(image, dtype=np.float32) / np.float32(255)


_Make = Callable[[Pixels, float, np.random.Generator, str], Pixels]
_MAKE: Mapping[Kind, _Make] = {
    "rotated-90": _turned(1),
    "upside-down": _turned(2),
    "rotated-270": _turned(3),
    "inverted": _inverted,
    "blurred": _blurred,
    "motion-blurred": _motion_blurred,
    "noisy": _noisy,
    "under-exposed": _under_exposed,
    "over-exposed": _over_exposed,
    "cropped": _cropped,
    "burnt-in-text": _with_text,
}
