"""A listening Storage SCP for tests, small synthetic instances, and a sender that can say anything."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from queue import Queue
from typing import Any

from blake3 import blake3
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE

from config.receiving import ReceiveSection
from dicom_node.entity import keep_answers
from dicom_node.keeping.object_store import ObjectStore
from dicom_node.receiving.scp import StorageScp
from tests.fakes import FakeInstanceRecorder

CALLED = "DICOM-NODE"
CALLING = "CT-1"
STUDY = "2.25.1001"
SERIES = "2.25.1002"
INSTANCE = "2.25.1003"


def ct_slice(sop_instance_uid: str = INSTANCE, *, rows: int = 16, shade: int = 7) -> Dataset:
    """Return a valid CT slice of the patient CANARY^PHI, `rows` by `rows`, every stored value `shade`."""
    data_set = Dataset()
    data_set.SOPClassUID = CTImageStorage
    data_set.SOPInstanceUID = sop_instance_uid
    data_set.Modality = "CT"
    data_set.PatientName = "CANARY^PHI"
    data_set.PatientID = "CANARY-ID"
    data_set.StudyInstanceUID = STUDY
    data_set.SeriesInstanceUID = SERIES
    data_set.SamplesPerPixel = 1
    data_set.PhotometricInterpretation = "MONOCHROME2"
    data_set.Rows = data_set.Columns = rows
    data_set.BitsAllocated = data_set.BitsStored = 16
    data_set.HighBit = 15
    data_set.PixelRepresentation = 0
    data_set.PixelData = shade.to_bytes(2, "little") * (rows * rows)
    data_set["PixelData"].VR = "OW"
    return data_set


def encoded(data_set: Dataset, transfer_syntax: UID = ExplicitVRLittleEndian) -> bytes:
    """Return the encoded data set, not deflated."""
    buffer = DicomBytesIO()
    buffer.is_little_endian = transfer_syntax.is_little_endian
    buffer.is_implicit_VR = transfer_syntax.is_implicit_VR
    write_dataset(buffer, data_set)
    return buffer.getvalue()


def write_file(path: Path, data_set: Dataset, transfer_syntax: UID = ExplicitVRLittleEndian) -> Path:
    """Write a Part 10 file and return its path."""
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = transfer_syntax
    data_set.save_as(path, enforce_file_format=True)
    return path


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A running receiver and everything that it keeps."""

    port: int
    scp: StorageScp
    store: ObjectStore
    recorder: FakeInstanceRecorder
    folder: Path

    def files(self, below: str) -> list[Path]:
        return sorted(path for path in (self.folder / below).rglob("*") if path.is_file())

    def kept_data_sets(self) -> dict[str, bytes]:
        """Return the data set bytes on disk by SOP Instance UID and version, after checking them against the recorded digest."""
        wait_until(lambda: len(self.recorder.instances) >= len(self.files("received")))  # rows follow answers
        kept = {}
        for instance in self.recorder.instances:
            content = self.store.absolute(instance.path).read_bytes()[-instance.size_bytes :]
            assert blake3(content).hexdigest() == instance.digest
            kept[f"{instance.sop_instance_uid}/{instance.version}"] = content
        return kept


@contextmanager
def receiving(
    folder: Path, *, recorder: FakeInstanceRecorder | None = None, why_wait: Callable[[], str] = lambda: "", **settings: Any
) -> Iterator[Node]:
    """Run a receiver on a free port of 127.0.0.1; it takes associations from CT-1 unless told otherwise."""
    values = {"host": "127.0.0.1", "port": 0, "calling_ae_titles": (CALLING,), "reserve_mb": 0, **settings}
    store = ObjectStore(folder)
    rows = recorder or FakeInstanceRecorder()
    scp = StorageScp(
        ae_title=CALLED,
        settings=ReceiveSection(**values),
        store=store,
        recorder=rows,
        clock=lambda: datetime.now(UTC),
        why_wait=why_wait,
    )
    scp.start()
    try:
        yield Node(port=scp.port, scp=scp, store=store, recorder=rows, folder=folder)
    finally:
        scp.stop()


@contextmanager
def association(node: Node, *, calling: str = CALLING, called: str = CALLED, sop_class: str = CTImageStorage) -> Iterator[Any]:
    """Associate for one SOP class, in Explicit and Implicit VR Little Endian; the association may be rejected."""
    entity = AE(ae_title=calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 10
    for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
        entity.add_requested_context(sop_class, syntax)
    opened = entity.associate("127.0.0.1", node.port, ae_title=called)
    keep_answers(opened)
    try:
        yield opened
    finally:
        if opened.is_established:
            opened.release()


def _request(data_set: bytes, sop_instance_uid: str, sop_class_uid: str) -> C_STORE:
    request = C_STORE()
    request.MessageID = 1
    request.AffectedSOPClassUID = sop_class_uid
    request.AffectedSOPInstanceUID = sop_instance_uid
    request.Priority = 2
    request.DataSet = BytesIO(data_set)
    return request


def c_store(opened: Any, data_set: bytes, *, sop_instance_uid: str = INSTANCE, sop_class_uid: str = CTImageStorage) -> tuple[int, str]:
    """Send any bytes under any UIDs, in the first accepted context; return status and Error Comment."""
    answers: Queue[Any] = Queue()
    opened.bind(evt.EVT_DIMSE_RECV, lambda event: answers.put(event.message.command_set))
    opened.dimse.send_msg(_request(data_set, sop_instance_uid, sop_class_uid), opened.accepted_contexts[0].context_id)
    answer = answers.get(timeout=10)
    return answer.Status, answer.get("ErrorComment", "")


def start_c_store(opened: Any, data_set: bytes) -> None:
    """Send a request and all of its data set but the last PDU."""
    message = C_STORE_RQ()
    message.primitive_to_message(_request(data_set, INSTANCE, CTImageStorage))
    *all_but_last, _ = message.encode_msg(opened.accepted_contexts[0].context_id, opened.acceptor.maximum_length)
    for pdu in all_but_last:
        opened.dul.send_pdu(pdu)


def store_once(node: Node, data_set: bytes, **uids: str) -> tuple[int, str]:
    """Associate, send, release; return status and Error Comment."""
    with association(node) as opened:
        return c_store(opened, data_set, **uids)


def wait_until(condition: Callable[[], bool], *, timeout_s: float = 10) -> None:
    """Return as soon as `condition()` holds; fail after `timeout_s` seconds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)
