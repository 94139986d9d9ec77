"""Files as frames: DICOM as the node reads it, PNG, JPEG and TIFF as a viewer shows them, so that the same preprocessing follows."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from pydicom import dcmread

from config.views import ViewsSection
from dicom_node.evaluation.manifest import LabelledImage
from inference.findings import ImageRef
from inference.frames import Frame, UndecodableError, read_frames
from inference.selection import ChosenFrames, SelectedInstance
from inference.views import SampledRanges, viewed

DEFAULT_VIEWS = ViewsSection()

_PREAMBLE, _MAGIC = 128, b"DICM"  # PS3.10 7.1
_FORMATS = ("PNG", "JPEG", "TIFF")
_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff"})
_BITS_8, _BITS_16 = np.float32(255), np.float32(65535)
# What Pillow raises while it opens and decodes a damaged file.
_FAULTS = (
    UnidentifiedImageError,
    Image.DecompressionBombError,
    OSError,
    ValueError,
    SyntaxError,
    TypeError,
    KeyError,
    EOFError,
    OverflowError,
)


class UnusableImageError(Exception):
    """No frame can be had from a row. The message says why, without any value of a DICOM header but its UIDs.

    `name`: of the file, or the SOP Instance UID of a DICOM file, whose own name may name a patient; empty if neither is known to be safe.
    """

    def __init__(self, reason: str, name: str = "") -> None:
        super().__init__(reason)
        self.name = name


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """The frame of a row, and what names it to a reader: the file's name, or for DICOM the SOP Instance UID (empty if there is none)."""

    frame: Frame
    name: str


def read_picture(image: LabelledImage, *, maximum_megapixels: float, views: ViewsSection = DEFAULT_VIEWS) -> Picture:
    """Return the picture of a row as a model with these views is shown it; a series is then this one image.

    The frame of a file that is not DICOM has an empty `ref` and no view; three equal channels become one grey one.

    Raises:
        UnusableImageError: the file is missing, damaged, too large, or of a kind that is not read.
    """
    try:
        with image.path.open("rb") as file:
            file.seek(_PREAMBLE)
            is_dicom = file.read(len(_MAGIC)) == _MAGIC
    except OSError as exc:
        raise UnusableImageError(f"the file cannot be read ({exc.strerror})", _safe_name(image.path)) from exc
    if not is_dicom:
        return Picture(frame=_picture(image, maximum_megapixels), name=image.path.name)
    try:
        (frame,) = read_frames(image.path, [image.frame_number], maximum_megapixels=maximum_megapixels)
    except UndecodableError as exc:
        raise UnusableImageError(str(exc)) from exc
    number = f", frame {image.frame_number}" if image.frame_number > 1 else ""
    return Picture(frame=_viewed(frame, image, views, maximum_megapixels), name=f"{frame.ref.sop_instance_uid}{number}")


def _viewed(frame: Frame, image: LabelledImage, views: ViewsSection, maximum_megapixels: float) -> Frame:
    header = dcmread(image.path, stop_before_pixels=True)
    alone = ChosenFrames(instance=SelectedInstance(path=image.path, header=header), frame_numbers=(image.frame_number,), group="")
    return viewed(frame, header, views, SampledRanges((alone,), maximum_megapixels=maximum_megapixels))


def _safe_name(path: Path) -> str:
    return path.name if path.suffix.lower() in _SUFFIXES else ""


def _picture(image: LabelledImage, maximum_megapixels: float) -> Frame:
    if image.frame_number != 1:
        raise UnusableImageError(f"there is no frame {image.frame_number}: only DICOM files have several", _safe_name(image.path))
    try:
        pixels, steps = _decoded(image.path, maximum_megapixels)
    except UnusableImageError as exc:
        raise UnusableImageError(str(exc), _safe_name(image.path)) from exc
    return Frame(
        pixels=pixels,
        values=None,
        spacing_mm=None,
        ref=ImageRef(sop_class_uid="", sop_instance_uid=""),
        modality=image.modality,
        photometric_interpretation="MONOCHROME2" if pixels.ndim == 2 else "RGB",  # noqa: PLR2004 - rows and columns
        steps=steps,
    )


def _decoded(path: Path, maximum_megapixels: float) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow, about sizes: ours is checked below
            opened = Image.open(path, formats=_FORMATS)
        with opened:
            if opened.width * opened.height > maximum_megapixels * 1e6:
                raise UnusableImageError(f"{opened.width} x {opened.height} pixels, the limit is {maximum_megapixels:g} megapixels")
            return _display_values(ImageOps.exif_transpose(opened))
    except UnidentifiedImageError as exc:
        raise UnusableImageError("neither a DICOM file (PS3.10) nor a PNG, JPEG or TIFF file that can be read") from exc
    except _FAULTS as exc:
        raise UnusableImageError(f"the file is damaged ({type(exc).__name__})") from exc


def _display_values(picture: Image.Image) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    if picture.mode not in _DISPLAYED:
        raise UnusableImageError(f"pixels of the kind {picture.mode} are not read; convert the file to 8 or 16-bit grey, or RGB")
    pixels = _DISPLAYED[picture.mode](picture)
    if pixels.ndim > 2 and (pixels == pixels[..., :1]).all():  # noqa: PLR2004 - rows and columns
        return np.ascontiguousarray(pixels[..., 0]), ("three equal channels, shown grey",)
    return pixels, ()


def _bytes(mode: str) -> Callable[[Image.Image], NDArray[np.float32]]:
    return lambda picture: np.asarray(picture.convert(mode), dtype=np.float32) / _BITS_8


def _words(picture: Image.Image) -> NDArray[np.float32]:
    return np.asarray(picture).astype(np.float32) / _BITS_16


def _opaque(mode: str) -> Callable[[Image.Image], NDArray[np.float32]]:
    def shown(picture: Image.Image) -> NDArray[np.float32]:
        lowest, _ = picture.getchannel("A").getextrema()
        if lowest != _BITS_8:
            raise UnusableImageError("the picture is transparent, so nobody knows what it looks like; flatten it")
        return np.asarray(picture.convert(mode), dtype=np.float32) / _BITS_8

    return shown


_DISPLAYED: Mapping[str, Callable[[Image.Image], NDArray[np.float32]]] = {
    "1": _bytes("L"),
    "L": _bytes("L"),
    "P": _bytes("RGB"),
    "RGB": _bytes("RGB"),
    "YCbCr": _bytes("RGB"),
    "LA": _opaque("L"),
    "RGBA": _opaque("RGB"),
    "I;16": _words,
    "I;16B": _words,
}
