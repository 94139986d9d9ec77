"""Every document that the encoders make, written to a folder, and what independent validators say of each."""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import UID

from inference.findings import Analysis
from reporting import ENCODERS, STANDING_RECORD, VARIANTS, EncodedResult, as_variant
from tests.conformance.sr_documents import (
    CHARACTER_SETS,
    FRAMES_OF,
    KINDS,
    PREVIOUS,
    PRODUCER,
    DirtyHeader,
    dirty_headers,
    header,
    headers_of,
)
from tests.conformance.sr_readback import readback
from tests.conformance.sr_validators import dciodvfy, dcmpschk, dicom_validator, dsr2html, dsr2xml, dsrdump, message

Tool = Callable[[Path], tuple[str, ...]]

KEY_OBJECTS = "1.2.840.10008.5.1.4.1.1.88.59"
PRESENTATION_STATE = "1.2.840.10008.5.1.4.1.1.11.1"
CLEAN = "clean"
_OF_ANY: Mapping[str, Tool] = {"dciodvfy": dciodvfy, "dicom-validator": dicom_validator}
_OF_REPORTS: Mapping[str, Tool] = {"dsrdump": dsrdump, "dsr2html": dsr2html, "dsr2xml": dsr2xml, "read-back": readback}
TOOLS = (*_OF_ANY, *_OF_REPORTS, "dcmpschk", "message", "PixelMed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One encoded result as a file. `faithful` names attributes whose fault is identity, and therefore kept."""

    kind: str
    sop_class_uid: str
    analysis: str
    header: str
    path: Path
    faithful: tuple[str, ...] = ()

    @property
    def is_report(self) -> bool:
        """True for the classes that are Structured Reports, Key Object Selection among them."""
        return self.sop_class_uid in {*VARIANTS, KEY_OBJECTS}

    @property
    def class_name(self) -> str:
        """The SOP class in words; of a message its kind of file."""
        return UID(self.sop_class_uid).name.removesuffix(" Storage") if self.sop_class_uid else self.path.suffix.removeprefix(".")


@cache
def source_headers() -> Mapping[str, DirtyHeader]:
    """The headers that reports are made from: the clean one, the dirty ones, and one in each character set."""
    written = {name: DirtyHeader(dataset=one.dataset) for name, one in CHARACTER_SETS.items()}
    return {CLEAN: DirtyHeader(dataset=header()), **dirty_headers(), **{f"in {name}": one for name, one in written.items()}}


def documents(folder: Path, analyses: Iterable[str], headers: Iterable[str], *, kinds: Iterable[str] = ENCODERS) -> Iterator[Document]:
    """Write what the encoders make of each analysis under each header, reports in every SOP class, and return it."""
    for header_name in headers:
        for analysis_name in analyses:
            yield from _documents_of(folder, analysis_name, header_name, tuple(kinds))


def _documents_of(folder: Path, analysis_name: str, header_name: str, kinds: Sequence[str]) -> Iterator[Document]:
    made, source = KINDS[analysis_name], source_headers()[header_name]
    headers = headers_of(made) if header_name == CLEAN else [_dressed(source.dataset, made), *headers_of(made)[1:]]
    for grey in headers:
        grey.PhotometricInterpretation = "MONOCHROME2"  # else nothing is outlined
    encoded: list[EncodedResult] = []
    for kind in (kind for kind in ENCODERS if kind in {STANDING_RECORD, *kinds}):
        previous = None if made.withdrawn is None else replace(PREVIOUS, sop_instance_uid=f"{PREVIOUS.sop_instance_uid}.{len(encoded) + 1}")
        result = ENCODERS[kind](made, headers, producer=PRODUCER, previous=previous, companions=tuple(encoded))
        if result is None:
            continue
        encoded.append(result)
        if kind not in kinds:
            continue
        for written in _in_every_class(result):
            suffix = {"application/dicom": "dcm", "application/fhir+json": "json"}.get(written.media_type, "hl7")
            path = folder / f"{kind} {analysis_name} {header_name} {written.sop_class_uid}.{suffix}".replace(" ", "_")
            path.write_bytes(written.data)
            yield Document(
                kind=kind,
                sop_class_uid=written.sop_class_uid,
                analysis=analysis_name,
                header=header_name,
                path=path,
                faithful=source.faithful,
            )


def _in_every_class(result: EncodedResult) -> Iterator[EncodedResult]:
    if result.sop_class_uid not in VARIANTS:
        yield result
        return
    for sop_class_uid in VARIANTS:
        yield as_variant(result.data, sop_class_uid)


def _dressed(dirty: Dataset, made: Analysis) -> Dataset:
    """Return a dirty header as that of the first input of an analysis."""
    dressed = copy.deepcopy(dirty)
    image = made.inputs[0]
    dressed.SOPClassUID, dressed.SOPInstanceUID = image.sop_class_uid, image.sop_instance_uid
    for keyword, value in FRAMES_OF.get(image.sop_class_uid, {}).items():
        if value is None:
            dressed.pop(keyword, None)
        else:
            setattr(dressed, keyword, value)
    return dressed


def verdicts(document: Document) -> dict[str, tuple[str, ...]]:
    """Return what each tool that knows this class says against the document, but for PixelMed, which is asked about many at once."""
    if not document.sop_class_uid:
        return {"message": message(document.path)}
    tools = {**_OF_ANY, **(_OF_REPORTS if document.is_report else {})}
    if document.sop_class_uid == PRESENTATION_STATE:
        tools["dcmpschk"] = dcmpschk
    return {name: _but_faithful(tool(document.path), document.faithful) for name, tool in tools.items()}


def all_verdicts(made: Sequence[Document], *, processes: int) -> list[dict[str, tuple[str, ...]]]:
    """Return the verdicts on many documents, in their order."""
    with ProcessPoolExecutor(max_workers=processes) as pool:
        return list(pool.map(verdicts, made, chunksize=16))


def _but_faithful(lines: tuple[str, ...], faithful: tuple[str, ...]) -> tuple[str, ...]:
    marks = [mark for keyword in faithful for mark in (f"</{keyword}(", str(Tag(tag_for_keyword(keyword) or 0)).upper())]
    return tuple(line for line in lines if not any(mark in line or mark in line.upper() for mark in marks))
