"""Colours of a device as sRGB, by the ICC profile of the image (PS3.3 C.11.15).

Photographs come with the profile of their camera, and models learnt from photographs whose colours were sRGB. Slide scanners put theirs
into the optical path (C.8.12.5), and there it is left alone: the tools that models for slides were trained with read the stored colours.
"""

import io
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

Levels = npt.NDArray[np.uint8]

_INTENT = ImageCms.Intent.RELATIVE_COLORIMETRIC  # keeps the colours that both spaces have as they are
_SRGB_NAMES = ("SRGB",)


class UnusableProfileError(ValueError):
    """A profile that is none, or not one of RGB."""


def is_srgb(profile: bytes, colour_space: str) -> bool:
    """True if the header (Color Space (0028,2002)) or the profile's own description says that the colours are sRGB already.

    Raises:
        UnusableProfileError: nobody can read the profile.
    """
    return colour_space.startswith(_SRGB_NAMES) or "SRGB" in _described(profile).upper().replace(" ", "")


def as_srgb(levels: Levels, profile: bytes) -> Levels:
    """8-bit RGB, shape (rows, columns, 3), in sRGB.

    Raises:
        UnusableProfileError: the profile cannot be used.
    """
    try:
        converted = ImageCms.applyTransform(Image.fromarray(levels), _transform(profile))
    except (ImageCms.PyCMSError, OSError, ValueError) as exc:
        raise UnusableProfileError("the ICC profile cannot be used") from exc
    assert converted is not None
    return np.asarray(converted)


@lru_cache(maxsize=8)
def _described(profile: bytes) -> str:
    try:
        return ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile)))
    except (ImageCms.PyCMSError, OSError, ValueError) as exc:
        raise UnusableProfileError("the ICC profile cannot be used") from exc


@lru_cache(maxsize=8)
def _transform(profile: bytes) -> ImageCms.ImageCmsTransform:
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), "RGB", "RGB", renderingIntent=_INTENT)
