"""The quality of images and series by their headers, once their pixels were read and the gate has said what they show."""

from collections.abc import Iterator, Sequence

from inference.findings import ImageRef, QualityVerdict
from inference.quality.header import HeaderSubject, check_header
from inference.quality.series import SeriesSubject, check_series
from inference.reading import Reading
from inference.selection import Series


def judge_headers(reading: Reading, series: Sequence[Series], *, left_out: int) -> Iterator[QualityVerdict]:
    """Yield the verdicts on everything that was read: one of each check for an image, a stack or a whole series.

    `left_out`: how many instances of the study the route left out; they may be what a series seems to lack.
    """
    for group, pixels in reading.pixels.items():
        yield from check_header(HeaderSubject(pixels=pixels, shown=reading.shown.get(group)))
    first_read = _first_read(reading)
    for one in series:
        if one.uid in first_read:
            headers = tuple(instance.header for instance in one.instances)
            yield from check_series(
                SeriesSubject(image=first_read[one.uid], headers=headers, geometry=one.geometry, left_out=left_out),
            )


def _first_read(reading: Reading) -> dict[str, ImageRef]:
    images: dict[str, ImageRef] = {}
    for instance in reading.used:
        images.setdefault(instance.series, instance.image)
    return images
