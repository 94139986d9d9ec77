"""What the pixel checks find and what they take for a fault: `DICOM_NODE_SHARED=FOLDER python -m tests.bench.quality [--tune]`.

Prints Markdown: for each check and modality the clean images that it raises an alarm on, and the share that it finds of images
degraded with weak, medium and strong faults; then the time of all checks, then what each says of the odd files. Limits were chosen on
one half of the images, the table is of the other; no patient is in both. `--tune` prints the half on which limits are chosen, with the
measured numbers. Names of checks after it choose some of them. Checks of brightness are judged on the small images of the training
pack as well.
"""

import os
import statistics
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydicom import Dataset

from inference.damage.artefacts import GREY_ONLY, Artefact, spoil
from inference.damage.degradations import Kind, degrade
from inference.findings import QualityGrade, QualityVerdict
from inference.frames import Frame
from inference.quality import CHECKS, Sample, check_frame
from tests.bench.packed_images import packed
from tests.bench.quality_images import MODALITIES, Pixels, Shown, shown

STRENGTHS = (0.25, 0.5, 1.0)
# What is measured on at most 128 pixels a side, and so on images that were made smaller as well as on others.
COARSE = frozenset({"blank", "clipped", "under-exposed", "over-exposed", "low-contrast", "inverted", "rotated", "collimation"})
_LARGEST = 2400
_TARGET = 0.95
_ALLOWED = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A fault and the check that is to find it. `graded`: it has strengths."""

    name: str
    check: str
    make: Callable[[Pixels, float, np.random.Generator, str], Pixels]
    graded: bool = True
    grey_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one check did on one fault in one modality: measured numbers of the clean images, and of each strength."""

    fault: Fault
    modalities: str
    clean: tuple[QualityVerdict, ...]
    faulty: dict[float, tuple[QualityVerdict, ...]]


def _degraded(kind: Kind) -> Callable[[Pixels, float, np.random.Generator, str], Pixels]:
    return lambda pixels, strength, rng, modality: degrade(pixels, kind, strength, rng, modality=modality)


def _spoilt(artefact: Artefact) -> Callable[[Pixels, float, np.random.Generator, str], Pixels]:
    return lambda pixels, strength, rng, _modality: spoil(pixels, artefact, strength, rng)


def _fault(name: str, check: str, *, graded: bool = True) -> Fault:
    if name in _KINDS:
        return Fault(name=name, check=check, make=_degraded(_KINDS[name]), graded=graded)
    artefact = _ARTEFACTS[name]
    return Fault(name=name, check=check, make=_spoilt(artefact), graded=graded, grey_only=artefact in GREY_ONLY)


_KINDS: dict[str, Kind] = {
    name: name
    for name in (
        "rotated-90",
        "upside-down",
        "inverted",
        "blurred",
        "motion-blurred",
        "noisy",
        "under-exposed",
        "over-exposed",
        "burnt-in-text",
    )
}
_ARTEFACTS: dict[str, Artefact] = {
    name: name
    for name in (
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
    )
}
FAULTS = (
    _fault("black", "blank"),
    _fault("text-page", "document"),
    _fault("screen", "document"),
    _fault("coloured", "colour"),
    _fault("clipped", "clipped"),
    _fault("under-exposed", "under-exposed"),
    _fault("over-exposed", "over-exposed"),
    _fault("flat", "low-contrast"),
    _fault("noisy", "noise"),
    _fault("blurred", "blurred"),
    _fault("motion-blurred", "motion"),
    _fault("inverted", "inverted", graded=False),
    _fault("rotated-90", "rotated", graded=False),
    _fault("upside-down", "rotated", graded=False),
    _fault("wide-field", "collimation"),
    _fault("burnt-in-text", "burnt-in-text"),
    _fault("annotated", "annotation"),
    _fault("compressed", "compressed"),
    _fault("grid-lines", "grid-lines"),
    _fault("dead-line", "dead-lines"),
    _fault("double-exposure", "double-exposure"),
)


def rows(images: Sequence[Shown], faults: Sequence[Fault] = FAULTS) -> Iterator[Row]:
    """What each check did in each modality that it judges."""
    for fault in faults:
        for modalities in MODALITIES:
            own = [image for image in images if image.modalities == modalities and _is_clean_for(fault, image)]
            clean = [verdict for image in own if (verdict := _asked(fault, image.frame, image.header)) is not None]
            if clean:
                yield Row(fault=fault, modalities=modalities, clean=tuple(clean), faulty=_faulty(fault, own))


def _is_clean_for(fault: Fault, image: Shown) -> bool:
    if image.odd or (image.written and fault.check == "burnt-in-text"):
        return False
    return fault.check in COARSE or not image.coarse


def _faulty(fault: Fault, images: Sequence[Shown]) -> dict[float, tuple[QualityVerdict, ...]]:
    found: dict[float, tuple[QualityVerdict, ...]] = {}
    usable = [image for image in images if image.frame.pixels.ndim == 2 or not fault.grey_only]
    for strength in STRENGTHS if fault.graded else (1.0,):
        made = (_asked(fault, _made(fault, strength, image), image.header) for image in usable)
        found[strength] = tuple(verdict for verdict in made if verdict is not None)
    return found


def _asked(fault: Fault, frame: Frame, header: Dataset) -> QualityVerdict | None:
    if fault.check == "burnt-in-text":  # elsewhere text is no fault where the modality usually writes some
        header = Dataset(header)
        header.BurnedInAnnotation = "NO"
    return CHECKS[fault.check](Sample(frame), header)


def _made(fault: Fault, strength: float, image: Shown) -> Frame:
    seed = zlib.crc32(f"{image.name} {image.frame.ref.frame_number} {fault.name} {strength}".encode())
    pixels = np.clip(_not_too_large(image.frame.pixels), 0, 1)
    return replace(image.frame, pixels=fault.make(pixels, strength, np.random.default_rng(seed), image.frame.modality))


def _not_too_large(pixels: Pixels) -> Pixels:
    step = -(-max(pixels.shape[:2]) // _LARGEST)
    return pixels[::step, ::step]


def _share(verdicts: Sequence[QualityVerdict]) -> str:
    if not verdicts:
        return "-"
    return f"{sum(verdict.grade is not QualityGrade.DIAGNOSTIC for verdict in verdicts)}/{len(verdicts)}"


def table(results: Sequence[Row]) -> Iterator[str]:
    """Markdown: one line a check, fault and modality. In bold what misses the target."""
    yield "| check | fault | modality | false alarms on clean | found weak | medium | strong |"
    yield "|---|---|---|---:|---:|---:|---:|"
    for row in results:
        alarms = [verdict for verdict in row.clean if verdict.grade is not QualityGrade.DIAGNOSTIC]
        clean = _share(row.clean)
        cells = [_share(row.faulty.get(strength, ())) for strength in STRENGTHS]
        target = row.faulty.get(0.5) or row.faulty[1.0]
        found = sum(verdict.grade is not QualityGrade.DIAGNOSTIC for verdict in target)
        place = 1 if row.fault.graded else 2
        if target and found < _TARGET * len(target):
            cells[place] = f"**{cells[place]}**"
        if len(alarms) > _ALLOWED * len(row.clean):
            clean = f"**{clean}**"
        yield f"| {row.fault.check} | {row.fault.name} | {row.modalities} | {clean} | {' | '.join(cells)} |"


def numbers(results: Sequence[Row]) -> Iterator[str]:
    """For choosing limits: the greatest and least measured numbers of clean images, and of those with medium faults."""
    for row in results:
        clean = sorted(verdict.measured for verdict in row.clean)
        faulty = sorted(verdict.measured for verdict in row.faulty.get(0.5) or row.faulty[1.0])
        limit = row.clean[0].threshold
        few = ", ".join(f"{value:.4g}" for value in (*clean[:3], *clean[-3:]))
        others = ", ".join(f"{value:.4g}" for value in (*faulty[:3], *faulty[-3:]))
        yield f"{row.fault.check:16} {row.fault.name:15} {row.modalities:6} limit {limit:<7} clean {len(clean)}: {few}; medium: {others}"


def odd_files(images: Sequence[Shown]) -> Iterator[str]:
    """Markdown: what the checks said of files that are no clean images."""
    yield "| file | what it is | what the checks said |"
    yield "|---|---|---|"
    for image in images:
        if image.odd:
            faults = [verdict for verdict in check_frame(image.frame, image.header) if verdict.grade is not QualityGrade.DIAGNOSTIC]
            said = ", ".join(f"{verdict.check} ({verdict.grade.name.lower().replace('_', '-')})" for verdict in faults) or "nothing"
            yield f"| {Path(image.name).name} | {image.odd} | {said} |"


def seconds(side: int = 2048) -> str:
    """The time of all checks on one radiograph of `side` x `side` pixels, and of each alone, in milliseconds (median of 7)."""
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    pixels = (0.5 + 0.3 * np.sin(7 * x) * np.cos(5 * y)).astype(np.float32)
    pixels += np.random.default_rng(0).normal(0, 0.01, pixels.shape).astype(np.float32)
    frame = _drawn(np.clip(pixels, 0, 1))
    header = Dataset()
    header.BodyPartExamined, header.ViewPosition = "CHEST", "PA"
    together = _median_ms(lambda: check_frame(frame, header))
    alone = {name: _median_ms(lambda check=check: check(Sample(frame), header)) for name, check in CHECKS.items()}  # type: ignore[misc]  # mypy cannot infer a lambda's default
    slowest = ", ".join(f"{name} {spent:.0f}" for name, spent in sorted(alone.items(), key=lambda item: -item[1])[:4])
    apart = f"each alone, nothing shared: {sum(alone.values()):.0f} ms together, most for {slowest}"
    return f"All {len(CHECKS)} checks of one {side} x {side} radiograph: {together:.0f} ms ({apart})."


def _median_ms(run: Callable[[], object]) -> float:
    spent = []
    for _ in range(7):
        begun = time.perf_counter()
        run()
        spent.append(1000 * (time.perf_counter() - begun))
    return statistics.median(spent)


def _drawn(pixels: Pixels) -> Frame:
    from tests.phantoms import as_frame  # noqa: PLC0415 - only where images are drawn

    return as_frame(pixels)


def main(arguments: Sequence[str]) -> None:
    shared = Path(os.environ["DICOM_NODE_SHARED"])
    images = [*shown(shared / "data"), *packed(shared / "train")]
    tune = "--tune" in arguments
    half = [image for image in images if image.held_out != tune]
    chosen = [fault for fault in FAULTS if not (names := [name for name in arguments if name[0] != "-"]) or fault.check in names]
    results = list(rows(half, chosen))
    for line in numbers(results) if tune else table(results):
        sys.stdout.write(f"{line}\n")
    if not tune:
        sys.stdout.write("\n" + "\n".join(odd_files(images)) + f"\n\n{seconds()}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
