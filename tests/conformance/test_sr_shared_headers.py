"""Reports for the headers of real files, where a folder of them is given: DICOM_NODE_SHARED."""

import os
import re
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from inference.findings import Abstention, AbstentionReason, Analysis, ImageRef, Outcome
from reporting import encode_structured_report
from tests.conformance.sr_documents import ANALYSED_AT, PRODUCER
from tests.conformance.sr_readback import readback
from tests.conformance.sr_validators import dciodvfy, dsrdump, pixelmed

SHARED = os.environ.get("DICOM_NODE_SHARED")
UNDER_PIXELMED = 3
_NEEDED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
_FAITHFUL = re.compile(r"UID\(.* - Illegal ")  # a reference is the UID by which the archive knows the instance, however odd
_UID = re.compile(r"[0-9.]{1,64}")

pytestmark = pytest.mark.skipif(SHARED is None, reason="DICOM_NODE_SHARED names no folder of real files")


def _headers() -> dict[str, Dataset]:
    """Return the headers that a Storage SCP would have accepted: those whose UIDs are UIDs."""
    headers = {}
    for path in sorted(Path(str(SHARED), "data", "dicom").rglob("*")):
        if path.is_file():
            try:
                header = dcmread(path, stop_before_pixels=True)
            except InvalidDicomError:
                continue
            if all(_UID.fullmatch(str(header.get(keyword, ""))) for keyword in _NEEDED):
                headers[path.relative_to(str(SHARED)).as_posix().replace("/", "_")] = header
    return headers


def _unrouted(header: Dataset) -> Analysis:
    return Analysis(
        study_instance_uid=str(header.StudyInstanceUID),
        revision=1,
        route="none",
        outcome=Outcome.NOT_ATTEMPTED,
        analysed_at=ANALYSED_AT,
        inputs=(ImageRef(sop_class_uid=str(header.SOPClassUID), sop_instance_uid=str(header.SOPInstanceUID)),),
        abstentions=(Abstention(reason=AbstentionReason.NO_ROUTE, detail="no route takes it"),),
    )


def test_every_real_header_gives_a_valid_report(tmp_path: Path) -> None:
    headers = _headers()
    problems: dict[str, object] = {}
    for name, header in headers.items():
        path = tmp_path / f"{name}.dcm"
        path.write_bytes(encode_structured_report(_unrouted(header), [header], producer=PRODUCER, previous=None).data)
        own = [line for line in dciodvfy(path) if not _FAITHFUL.search(line)]
        if found := (*own, *dsrdump(path), *readback(path)):
            problems[name] = found
    sample = [tmp_path / f"{name}.dcm" for name in list(headers)[:: max(1, len(headers) // UNDER_PIXELMED)]]
    problems |= {path.name: found for path, found in pixelmed(sample).items() if found}

    assert headers
    assert problems == {}
