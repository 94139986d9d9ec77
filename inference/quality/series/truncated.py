"""Does the series have as many images as its headers say that it has?"""

from collections import Counter
from collections.abc import Iterator

from inference.attributes import items, number, text, uid
from inference.findings import QualityVerdict
from inference.pixels.pixel_data import frame_count
from inference.quality.check import Limit
from inference.quality.series.check import INCOMPLETE, SOUND, SeriesSubject, series_verdict
from inference.quality.series.steps import steps

LIMIT = Limit(
    value=0,
    unit="{images}",
    source=f"The count of the header itself. {SOUND}; found with the last third lost 78 of 78, with every second slice dropped 78 of 78",
)

_PET = "1.2.840.10008.5.1.4.1.1.128"
# Slices adjoin if their distance is below one and a half of what the header names; then gaps in the numbers mean nothing.
_APART = 1.5
_FEWEST_NUMBERS = 4  # single images of a series, sent to show something, have any numbers


class Truncated:
    """Images that the headers count and that are not there.

    Measured: the most that one of these says: Images in Acquisition (0020,1002); in PET Number of Slices and of Time Slices (PS3.3
    C.8.9.1); the total of a concatenation; frames without functional groups; In-Stack Position Numbers, which go up by one (PS3.3
    C.7.6.16.2.2); places with fewer phases or echoes than most; gaps in the Instance Numbers, unless the slices adjoin. Instances that
    the route left out may be the missing ones, so they are taken off.
    """

    name = "truncated"

    def __call__(self, series: SeriesSubject) -> QualityVerdict | None:
        counted = tuple(_counted(series))
        if not counted:
            return None
        missing, why = max(counted, key=lambda one: one[0])
        images = "1 image is" if missing == 1 else f"{missing:.0f} images are"
        return series_verdict(
            self.name,
            series,
            measured=max(missing, 0),
            limit=LIMIT,
            code=INCOMPLETE,
            good="The series has as many images as its headers say.",
            bad=f"{images} missing from the series, judged by {why}.",
        )


def _counted(series: SeriesSubject) -> Iterator[tuple[float, str]]:
    """How many images are missing, and by what that is judged."""
    for missing, why in (*_by_acquisition(series), *_by_pet(series), *_by_concatenation(series), *_by_number(series)):
        yield missing - series.left_out, why
    yield from _by_frames(series)
    yield from _by_stack_position(series)
    yield from _by_phases(series)


def _by_acquisition(series: SeriesSubject) -> Iterator[tuple[float, str]]:
    acquisitions = Counter(text(header, "AcquisitionNumber") for header in series.headers)
    expected: dict[str, float] = {}
    for header in series.headers:
        if (count := number(header, "ImagesInAcquisition")) is not None:
            acquisition = text(header, "AcquisitionNumber")
            expected[acquisition] = max(count, expected.get(acquisition, 0))
    if expected:
        missing = sum(max(count - acquisitions[acquisition], 0) for acquisition, count in expected.items())
        yield missing, "Images in Acquisition (0020,1002)"


def _by_pet(series: SeriesSubject) -> Iterator[tuple[float, str]]:
    first = series.headers[0]
    slices, times = number(first, "NumberOfSlices"), number(first, "NumberOfTimeSlices")
    if text(first, "SOPClassUID") == _PET and slices is not None:
        yield slices * max(times or 1, 1) - len(series.headers), "Number of Slices (0054,0081)"


def _by_concatenation(series: SeriesSubject) -> Iterator[tuple[float, str]]:
    parts: dict[str, set[float]] = {}
    totals: dict[str, float] = {}
    for header in series.headers:
        name, part = uid(header, "ConcatenationUID"), number(header, "InConcatenationNumber")
        total = number(header, "InConcatenationTotalNumber")
        if name and part is not None and total is not None:
            parts.setdefault(name, set()).add(part)
            totals[name] = total
    if totals:
        yield sum(max(total - len(parts[name]), 0) for name, total in totals.items()), "the parts of a concatenation (0020,9163)"


def _by_frames(series: SeriesSubject) -> Iterator[tuple[float, str]]:
    described = [(frame_count(header), len(items(header, "PerFrameFunctionalGroupsSequence"))) for header in series.headers]
    if any(groups for _, groups in described):
        yield sum(frames - groups for frames, groups in described if groups), "Number of Frames (0028,0008) and what describes them"


def _by_stack_position(series: SeriesSubject) -> Iterator[tuple[float, str]]:
    highest: dict[str, set[float]] = {}
    for one in series.geometry.slices:
        if one.in_stack is not None and one.in_stack >= 1:
            highest.setdefault(one.stack, set()).add(one.in_stack)
    if highest:
        yield sum(max(numbers) - len(numbers) for numbers in highest.values()), "In-Stack Position Numbers (0020,9057)"


def _by_phases(series: SeriesSubject) -> Iterator[tuple[float, str]]:
    for stack in series.geometry.placed:
        counts = [len(level.slices) for level in stack.levels]
        (most, places), *_ = Counter(counts).most_common()
        if most > 1 and 2 * places > len(counts):
            yield sum(most - count for count in counts if count < most), "places with fewer images than most"


def _by_number(series: SeriesSubject) -> Iterator[tuple[float, str]]:
    numbers = {one.instance_number for one in series.geometry.slices if one.instance_number is not None}
    whole = {value for value in numbers if value.is_integer()}
    if len(whole) < max(len(series.headers), _FEWEST_NUMBERS) or _adjoining(series):
        return
    yield max(whole) - min(whole) + 1 - len(whole), "gaps in the Instance Numbers"


def _adjoining(series: SeriesSubject) -> bool:
    """True if the places of the slices show that none is missing in between, whatever the numbers say."""
    if not series.geometry.stacks or not all(steps(stack) for stack in series.geometry.stacks):
        return False
    named = max((number(series.headers[0], keyword) or 0 for keyword in ("SpacingBetweenSlices", "SliceThickness")), default=0)
    for stack in series.geometry.stacks:
        if any(step.missing for step in steps(stack)) or (stack.spacing_mm or 0) > _APART * named:
            return False
    return True
