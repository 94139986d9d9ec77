"""Pictures for a result page, as they are and under heat maps, from files read again when a page is made: no picture is kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray
from PIL import Image

from dicom_node.failures import describe
from inference.explanation.colour_scale import colour_scale
from inference.explanation.drawing import under_heat
from inference.findings import HeatGrid, ImageRef
from inference.frames import UndecodableError, read_frames
from reporting import HeatPicture, Picture

log = structlog.get_logger()

_LONGEST_SIDE = 512  # pixels; a page shows at most 308
_COLOURS = 64  # of the scale beside a heat map


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """What a page can show."""

    plain: tuple[Picture, ...]
    under_heat: tuple[HeatPicture, ...] = ()


def pictures_of(
    images: Sequence[ImageRef], files: Sequence[tuple[str, Path]], *, maximum_megapixels: float, heat: Sequence[HeatGrid] = ()
) -> Pictures:
    """Return a picture of each image, and one under each heat map, whose file can be read. `files`: SOP Instance UID and place of each.

    A page without its picture is better than no page, so a file that is gone or cannot be decoded is left out.
    """
    places = dict(files)
    wanted = dict.fromkeys((*images, *(grid.image for grid in heat)))
    made = ((image, _thumbnail(image, places.get(image.sop_instance_uid), maximum_megapixels)) for image in wanted)
    small = {image: thumbnail for image, thumbnail in made if thumbnail is not None}
    return Pictures(
        plain=tuple(small[image].picture for image in images if image in small),
        under_heat=tuple(small[grid.image].under(grid) for grid in heat if grid.image in small),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Thumbnail:
    """A frame made small: uint8, grey `(rows, columns)` or RGB. `rows` and `columns` are those of the image."""

    image: ImageRef
    pixels: NDArray[np.uint8]
    rows: int
    columns: int

    @property
    def picture(self) -> Picture:
        return self._showing(self.pixels)

    def under(self, grid: HeatGrid) -> HeatPicture:
        """The part that the model was shown lies under the colours; the rest stays as it is."""
        pixels = np.array(Image.fromarray(self.pixels).convert("RGB"))
        (top, left), (tall, wide) = grid.crop, pixels.shape[:2]
        down = slice(top * tall // self.rows, -(-(top + grid.rows) * tall // self.rows))
        across = slice(left * wide // self.columns, -(-(left + grid.columns) * wide // self.columns))
        pixels[down, across] = under_heat(pixels[down, across], grid)
        scale = colour_scale()
        colours = tuple((int(red), int(green), int(blue)) for red, green, blue in scale[:: len(scale) // _COLOURS])
        return HeatPicture(heat=grid, picture=self._showing(pixels), scale=colours)

    def _showing(self, pixels: NDArray[np.uint8]) -> Picture:
        file = BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        return Picture(image=self.image, png=file.getvalue(), rows=self.rows, columns=self.columns)


def _thumbnail(image: ImageRef, path: Path | None, maximum_megapixels: float) -> _Thumbnail | None:
    if path is None:
        return None
    try:
        frame = next(iter(read_frames(path, (image.frame_number or 1,), maximum_megapixels=maximum_megapixels)), None)
    except (UndecodableError, FileNotFoundError) as exc:
        log.warning("picture_left_out", sop_instance_uid=image.sop_instance_uid, reason=describe(exc))
        return None
    if frame is None:
        return None
    rows, columns = frame.pixels.shape[:2]
    pixels = Image.fromarray(np.rint(np.clip(frame.pixels, 0.0, 1.0) * 255).astype(np.uint8))
    pixels.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE), Image.Resampling.BOX)
    return _Thumbnail(image=image, pixels=np.asarray(pixels), rows=rows, columns=columns)
