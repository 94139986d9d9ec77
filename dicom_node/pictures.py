"""Thumbnails of the images that a result page shows, read again from the store when a page is made: nothing more is kept."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import structlog
from PIL import Image

from dicom_node.failures import describe
from inference.findings import ImageRef
from inference.frames import Frame, UndecodableError, read_frames
from reporting import Picture

log = structlog.get_logger()

_LONGEST_SIDE = 512  # pixels; a page shows at most 300


def pictures_of(images: Sequence[ImageRef], files: Sequence[tuple[str, Path]], *, maximum_megapixels: float) -> tuple[Picture, ...]:
    """Return a picture of each image whose file can still be read. `files`: SOP Instance UID and place of each.

    A page without its picture is better than no page, so a file that is gone or cannot be decoded is left out.
    """
    places = dict(files)
    made = (_picture(image, places.get(image.sop_instance_uid), maximum_megapixels) for image in images)
    return tuple(picture for picture in made if picture is not None)


def _picture(image: ImageRef, path: Path | None, maximum_megapixels: float) -> Picture | None:
    if path is None:
        return None
    try:
        frame = next(iter(read_frames(path, (image.frame_number or 1,), maximum_megapixels=maximum_megapixels)), None)
    except (UndecodableError, FileNotFoundError) as exc:
        log.warning("picture_left_out", sop_instance_uid=image.sop_instance_uid, reason=describe(exc))
        return None
    return None if frame is None else _thumbnail(image, frame)


def _thumbnail(image: ImageRef, frame: Frame) -> Picture:
    rows, columns = frame.pixels.shape[:2]
    pixels = Image.fromarray(np.rint(np.clip(frame.pixels, 0.0, 1.0) * 255).astype(np.uint8))
    pixels.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE), Image.Resampling.BOX)
    file = BytesIO()
    pixels.save(file, "PNG")
    return Picture(image=image, png=file.getvalue(), rows=rows, columns=columns)
