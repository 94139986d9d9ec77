"""Every companion object under independent validators, made from every kind of analysis and from the headers of the field."""

import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from inference.findings import Analysis
from reporting import ENCODERS, EncodedResult
from tests.conformance.sr_documents import KINDS, LOCALISED, POSITIVE, PREVIOUS, PRODUCER, dirty_headers, encode, headers_of, predecessor
from tests.conformance.sr_validators import dciodvfy, dsrdump

COMPANIONS = ("secondary-capture", "encapsulated-pdf", "key-objects-of-interest", "key-objects-quality", "gsps-outline")
DIRTY = dirty_headers()
_LATERALITY = re.compile("Laterality.*is only permitted to be empty when actually unknown")  # it is: no source says it
_DCMPSCHK_ALLOWED = re.compile(  # its own pattern for DT fits the value that it complains of
    r"^(W: Test(ing: .*| passed\.| failed - one or more errors\.)"
    r"|E:( Error: Attribute value does not conform to data type definition\.)?"
    r"|E:    (Affected attribute: ContributionDateTime .*|Attribute value   : \[\d{14}[+-]\d{4}\]|Expected format for each value: .*))$"
)
# dsrdump checks no template but those of reports, and says so.
_DSRDUMP_ALLOWED = re.compile(r"VR checker does not support|[Cc]heck for template constraints not yet supported")


def grey(headers: list[Dataset]) -> list[Dataset]:
    for header in headers:
        header.PhotometricInterpretation, header.WindowCenter, header.WindowWidth = "MONOCHROME2", 2000, 4000
    return headers


def written(folder: Path, kind: str, of: Analysis, headers: list[Dataset], companions: tuple[EncodedResult, ...] = ()) -> Path | None:
    result = ENCODERS[kind](of, headers, producer=PRODUCER, previous=predecessor(of), companions=companions)
    if result is None:
        return None
    path = folder / "companion.dcm"
    path.write_bytes(result.data)
    return path


def problems(path: Path) -> list[str]:
    found = [line for line in dciodvfy(path) if not _LATERALITY.search(line)]
    if dcmread(path, specific_tags=["Modality"]).Modality == "KO":
        found += [line for line in dsrdump(path) if not _DSRDUMP_ALLOWED.search(line)]
    return found


def dcmpschk(path: Path) -> list[str]:
    """Return what DCMTK's check of presentation states says against the file."""
    done = subprocess.run(["dcmpschk", str(path)], check=False, capture_output=True, text=True, timeout=60)
    lines = (line.rstrip() for line in (done.stdout + done.stderr).splitlines())
    return [line for line in lines if line and not _DCMPSCHK_ALLOWED.match(line)]


@pytest.mark.parametrize("name", KINDS)
def test_every_companion_of_every_kind_of_analysis_is_valid(tmp_path, name):
    of = KINDS[name]
    report = encode(of, predecessor(of))
    for kind in COMPANIONS:
        path = written(tmp_path, kind, of, grey(headers_of(of)), (report,))
        assert path is not None or kind not in COMPANIONS[:2]
        assert path is None or (kind, problems(path)) == (kind, [])
        assert path is None or kind != "gsps-outline" or dcmpschk(path) == []


@pytest.mark.parametrize("name", DIRTY)
def test_a_dirty_source_header_gives_valid_companions(tmp_path, name):
    headers = [*grey([DIRTY[name].dataset]), *grey(headers_of(POSITIVE)[1:])]
    for kind in COMPANIONS[2:]:
        path = written(tmp_path, kind, LOCALISED, headers)
        if path is not None:
            remaining = [line for line in problems(path) if not any(f"</{keyword}(" in line for keyword in DIRTY[name].faithful)]
            assert (kind, remaining) == (kind, [])


@pytest.mark.parametrize("name", ["minimal", "Japanese with three groups", "bytes outside the character set", "numbers that are none"])
@pytest.mark.parametrize("kind", COMPANIONS[:2])
def test_a_dirty_source_header_gives_a_valid_page(tmp_path, kind, name):
    path = written(tmp_path, kind, KINDS["failed"], [DIRTY[name].dataset])
    assert path is not None
    assert problems(path) == []


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A companion with one fault."""

    kind: str
    fault: Callable[[Dataset], None]


def _no_conversion_type(document: Dataset) -> None:
    del document.ConversionType


def _one_row_less(document: Dataset) -> None:
    document.Rows -= 1


def _no_evidence(document: Dataset) -> None:
    del document.CurrentRequestedProcedureEvidenceSequence


def _no_displayed_area(document: Dataset) -> None:
    del document.DisplayedAreaSelectionSequence


def _no_document(document: Dataset) -> None:
    del document.EncapsulatedDocument


MUTANTS = {
    "a page without conversion type": Mutant(kind="secondary-capture", fault=_no_conversion_type),
    "a page with a row less than it says": Mutant(kind="secondary-capture", fault=_one_row_less),
    "a document without its PDF": Mutant(kind="encapsulated-pdf", fault=_no_document),
    "key objects without evidence": Mutant(kind="key-objects-of-interest", fault=_no_evidence),
    "an outline on no displayed area": Mutant(kind="gsps-outline", fault=_no_displayed_area),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_companion_with_one_fault_is_rejected(tmp_path, name):
    mutant = MUTANTS[name]
    path = written(tmp_path, mutant.kind, LOCALISED, grey(headers_of(LOCALISED)))
    assert path is not None
    document = dcmread(path)
    mutant.fault(document)
    document.save_as(path)
    assert problems(path) != []


def test_a_revision_is_valid_too(tmp_path):
    for kind in COMPANIONS:
        result = ENCODERS[kind](KINDS["nothing found"], grey(headers_of(KINDS["nothing found"])), producer=PRODUCER, previous=PREVIOUS)
        if result is not None:
            (tmp_path / "revision.dcm").write_bytes(result.data)
            assert (kind, problems(tmp_path / "revision.dcm")) == (kind, [])
