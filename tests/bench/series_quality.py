"""`python -m tests.bench.series_quality FOLDER`: how often the checks of a series find damage, how often they are wrong.

Series are grown from every CT, MR and PET slice below FOLDER that says where it lies, and real series of four slices or more are taken
as they are. Prints a table; only headers are read.
"""

import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError

from inference.attributes import numbers, text
from inference.findings import QualityGrade
from inference.quality.series import SERIES_CHECKS, check_series
from inference.series.geometry import geometry
from tests.series_damage import DAMAGES, damaged, sound, subject

_SLICED = {"CT", "MR", "PT"}


def main(folder: Path) -> None:
    headers = list(_headers(folder))
    slices = list({_plane(one): one for one in headers if _plane(one)}.values())
    clean = [made for _, made in sound(slices)]
    alarms = Counter(check for made in clean for check in _alarms(made))
    asked = Counter(verdict.check for made in clean for verdict in check_series(subject(made)))
    print(f"Series grown from {len(slices)} slices.\n\n| damage | check | found by it | found by any check |\n|---|---|---:|---:|")
    plain = [made for name, made in sound(slices) if name in {"as it is", "oblique"}]
    for damage in DAMAGES:
        told = [_alarms(damaged(made, damage, seed=seed)) for seed, made in enumerate(plain)]
        print(f"| {damage.name} | {damage.check} | {sum(damage.check in one for one in told)} | {sum(map(bool, told))} of {len(plain)} |")
    print(f"\n| check | false alarms on {len(clean)} sound series |\n|---|---:|")
    for check in SERIES_CHECKS:
        print(f"| {check} | {alarms[check]} of {asked[check]} |")
    print("\n| real series | slices | alarms |\n|---|---:|---|")
    for name, members in _real(headers):
        told = "; ".join(v.sentence for v in check_series(subject(members)) if v.grade is not QualityGrade.DIAGNOSTIC)
        print(f"| {name} | {len(geometry(members).slices)} | {told or 'none'} |")


def _headers(folder: Path) -> Iterator[Dataset]:
    known: set[str] = set()
    for path in sorted(folder.rglob("*")):
        try:
            header = dcmread(path, stop_before_pixels=True) if path.is_file() else Dataset()
        except InvalidDicomError:
            continue
        if text(header, "Modality") in _SLICED and (uid := str(header.get("SOPInstanceUID", ""))) not in known:
            known.add(uid)
            yield _without_ballast(header)


def _without_ballast(header: Dataset) -> Dataset:
    """The attributes of the root without private ones and text: copies are made of it by the thousand."""
    slim = Dataset()
    for element in header:
        if not element.tag.is_private and (element.VR != "SQ" or "FunctionalGroups" in element.keyword):
            slim.add(element)
    return slim


def _plane(header: Dataset) -> tuple[object, ...]:
    orientation, position = numbers(header, "ImageOrientationPatient"), numbers(header, "ImagePositionPatient")
    if not orientation or not position or "LOCALIZER" in str(header.get("ImageType")):
        return ()
    return (*orientation, *position, text(header, "Modality"))


def _alarms(headers: list[Dataset]) -> list[str]:
    return [verdict.check for verdict in check_series(subject(headers)) if verdict.grade is not QualityGrade.DIAGNOSTIC]


def _real(headers: list[Dataset]) -> Iterator[tuple[str, list[Dataset]]]:
    series: dict[str, list[Dataset]] = defaultdict(list)
    for one in headers:
        series[text(one, "SeriesInstanceUID")].append(one)
    for uid, members in sorted(series.items()):
        if len(geometry(members).slices) > 1:
            yield f"{text(members[0], 'Modality')} ...{uid[-12:]}", members


if __name__ == "__main__":
    main(Path(sys.argv[1]))
