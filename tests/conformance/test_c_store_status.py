"""Every status that a C-STORE is answered with, and every way to be turned away before it."""

import errno
import socket
import struct
import threading
import zlib
from pathlib import Path

import pytest
import structlog
from pydicom import Dataset, dcmread
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
)
from pynetdicom import AE
from pynetdicom.presentation import build_context

from dicom_node.entity import keep_answers
from dicom_node.receiving.capabilities import RETIRED_SOP_CLASSES, TRANSFER_SYNTAXES
from tests.fakes import FakeInstanceRecorder
from tests.receiving import (
    CALLED,
    CALLING,
    INSTANCE,
    SERIES,
    STUDY,
    association,
    c_store,
    ct_slice,
    encoded,
    receiving,
    start_c_store,
    store_once,
    wait_until,
)

SUCCESS, PROCESSING_FAILURE, OUT_OF_RESOURCES, DOES_NOT_MATCH, CANNOT_UNDERSTAND = 0x0000, 0x0110, 0xA700, 0xA900, 0xC000


def without(keyword: str) -> bytes:
    data_set = ct_slice()
    del data_set[keyword]
    return encoded(data_set)


def test_an_instance_is_kept_as_it_was_sent_and_then_acknowledged(tmp_path: Path) -> None:
    sent = encoded(ct_slice(rows=400))
    with receiving(tmp_path) as node:
        assert store_once(node, sent) == (SUCCESS, "")
        assert node.kept_data_sets() == {f"{INSTANCE}/1": sent}
        (instance,) = node.recorder.instances
        assert (instance.study_instance_uid, instance.series_instance_uid) == (STUDY, SERIES)
        assert (instance.sop_class_uid, instance.transfer_syntax_uid) == (CTImageStorage, ExplicitVRLittleEndian)
        assert (instance.modality, instance.calling_ae_title, instance.size_bytes) == ("CT", CALLING, len(sent))
        assert instance.received_at.tzinfo is not None
        stored = dcmread(node.store.absolute(instance.path))
        assert stored.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        assert stored.PatientName == "CANARY^PHI"
        assert node.files("incoming") == []


def test_the_same_bytes_sent_again_are_acknowledged_and_stored_once(tmp_path: Path) -> None:
    sent = encoded(ct_slice())
    with receiving(tmp_path) as node:
        assert [store_once(node, sent)[0] for _ in range(3)] == [SUCCESS] * 3
        assert len(node.files("received")) == 1
        assert len(node.recorder.instances) == 1


def test_other_bytes_under_a_known_uid_become_a_second_version_and_the_first_stays(tmp_path: Path) -> None:
    first, second = encoded(ct_slice(shade=1)), encoded(ct_slice(shade=2))
    with receiving(tmp_path) as node:
        assert store_once(node, first)[0] == SUCCESS
        assert store_once(node, second)[0] == SUCCESS
        assert node.kept_data_sets() == {f"{INSTANCE}/1": first, f"{INSTANCE}/2": second}


def test_two_senders_of_one_instance_at_once_leave_one_good_file(tmp_path: Path) -> None:
    sent = encoded(ct_slice(rows=512))
    statuses: list[int] = []
    start = threading.Barrier(2)
    with receiving(tmp_path) as node:

        def send() -> None:
            with association(node) as opened:
                start.wait()
                statuses.append(c_store(opened, sent)[0])

        senders = [threading.Thread(target=send) for _ in range(2)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        assert statuses == [SUCCESS, SUCCESS]
        assert len(node.files("received")) == 1
        assert node.kept_data_sets() == {f"{INSTANCE}/1": sent}


@pytest.mark.parametrize(
    ("data_set", "command", "comment"),
    [
        (without("StudyInstanceUID"), {}, "Study Instance UID is missing or no valid UID"),
        (without("SeriesInstanceUID"), {}, "Series Instance UID is missing or no valid UID"),
        (without("SOPInstanceUID"), {}, "SOP Instance UID is missing or no valid UID"),
        (without("SOPClassUID"), {}, "SOP Class UID is missing or no valid UID"),
        (encoded(ct_slice()), {"sop_instance_uid": "2.25.999"}, "SOP Instance UID differs from the command set"),
        (encoded(ct_slice()), {"sop_class_uid": MRImageStorage}, "SOP Class UID differs from command set or context"),
    ],
    ids=["no study", "no series", "no instance", "no class", "other instance", "other class"],
)
def test_a_data_set_that_is_not_what_the_command_says_is_refused_with_a900(
    tmp_path: Path, data_set: bytes, command: dict[str, str], comment: str
) -> None:
    with receiving(tmp_path / "store") as node:
        assert store_once(node, data_set, **command) == (DOES_NOT_MATCH, comment)
        assert node.recorder.instances == []
        assert node.files("") == []
        assert [path.name for path in tmp_path.iterdir()] == ["store"]


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.parametrize("uid", ["1.2.../../../etc/cron.d/x", "../../x", "1.2.003", "DOE^JOHN"])
def test_what_is_no_uid_is_refused_with_a900_and_never_becomes_a_path(tmp_path: Path, uid: str) -> None:
    with receiving(tmp_path / "store") as node:
        status, comment = store_once(node, encoded(ct_slice(uid)), sop_instance_uid=uid)
        assert (status, comment) == (DOES_NOT_MATCH, "a UID in the command set is no valid UID")
        assert node.files("") == []
        assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_a_class_other_than_the_presentation_context_is_refused_with_a900(tmp_path: Path) -> None:
    with receiving(tmp_path) as node, association(node, sop_class=MRImageStorage) as opened:
        assert c_store(opened, encoded(ct_slice()))[0] == DOES_NOT_MATCH


@pytest.mark.parametrize(
    "hostile",
    [
        b"GET / HTTP/1.1\r\nHost: node\r\n\r\n" * 20,
        struct.pack("<HH2sHL", 0x0008, 0x0016, b"OB", 0, 0xFFFFFFF0) + b"x" * 50,
        struct.pack("<HH2sHL", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF)
        + (struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF) + struct.pack("<HH2sHL", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF)) * 5000,
    ],
    ids=["another protocol", "4 GB in one element", "5000 nested sequences"],
)
def test_bytes_that_are_no_data_set_are_answered_with_c000_and_kept_in_quarantine(tmp_path: Path, hostile: bytes) -> None:
    with receiving(tmp_path) as node:
        assert store_once(node, hostile) == (CANNOT_UNDERSTAND, "the data set cannot be parsed")
        ((path, _, calling),) = node.recorder.quarantined
        assert node.store.absolute(Path(path)).read_bytes().endswith(hostile)
        assert calling == CALLING
        assert store_once(node, encoded(ct_slice()))[0] == SUCCESS


def test_a_truncated_object_with_a_readable_header_is_kept(tmp_path: Path) -> None:
    sent = encoded(ct_slice(rows=64))[:-5000]
    with receiving(tmp_path) as node:
        assert store_once(node, sent)[0] == SUCCESS
        assert node.kept_data_sets() == {f"{INSTANCE}/1": sent}


def test_pixel_data_that_claims_four_gigabytes_is_kept_as_it_is(tmp_path: Path) -> None:
    header = encoded(ct_slice())[: -16 * 16 * 2 - 4]
    sent = header + struct.pack("<L", 0xFFFFFFFE) + b"few"
    with receiving(tmp_path) as node:
        assert store_once(node, sent)[0] == SUCCESS
        assert node.kept_data_sets() == {f"{INSTANCE}/1": sent}


def test_below_the_reserve_an_instance_is_refused_with_a700_and_nothing_is_written(tmp_path: Path) -> None:
    with receiving(tmp_path, reserve_mb=10**9) as node:
        assert store_once(node, encoded(ct_slice())) == (OUT_OF_RESOURCES, "free space is below the reserve")
        assert node.files("") == []


def test_a_store_that_cannot_be_written_is_answered_with_a700(tmp_path: Path) -> None:
    with receiving(tmp_path) as node:
        (tmp_path / "incoming").rmdir()
        (tmp_path / "incoming").write_bytes(b"a file in the place of the folder")
        assert store_once(node, encoded(ct_slice())) == (OUT_OF_RESOURCES, "cannot write: ENOTDIR")
        (tmp_path / "incoming").unlink()
        (tmp_path / "incoming").mkdir()
        assert store_once(node, encoded(ct_slice()))[0] == SUCCESS


def test_a_ledger_that_takes_no_row_ends_the_acknowledging_until_it_takes_rows_again(tmp_path: Path) -> None:
    recorder = FakeInstanceRecorder(failure=OSError(errno.ENOSPC, "database or disk is full"))
    with receiving(tmp_path, recorder=recorder) as node:
        assert store_once(node, encoded(ct_slice())) == (SUCCESS, ""), "its file says all that its row would"
        other = encoded(ct_slice(f"{INSTANCE}.1"))
        assert store_once(node, other, sop_instance_uid=f"{INSTANCE}.1") == (OUT_OF_RESOURCES, "cannot record the instance: OSError")
        recorder.failure = None
        assert store_once(node, other, sop_instance_uid=f"{INSTANCE}.1")[0] == SUCCESS
        assert len(node.kept_data_sets()) == 2


def test_a_deflated_data_set_is_kept_deflated(tmp_path: Path) -> None:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    sent = deflater.compress(encoded(ct_slice())) + deflater.flush()
    with receiving(tmp_path) as node:
        entity = AE(ae_title=CALLING)
        entity.add_requested_context(CTImageStorage, DeflatedExplicitVRLittleEndian)
        opened = entity.associate("127.0.0.1", node.port, ae_title=CALLED)
        keep_answers(opened)
        assert c_store(opened, sent)[0] == SUCCESS
        opened.release()
        assert node.kept_data_sets() == {f"{INSTANCE}/1": sent}


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_an_uncompressed_data_set_is_kept_in_its_own_byte_order(tmp_path: Path, syntax: UID) -> None:
    sent = encoded(ct_slice(), syntax)
    with receiving(tmp_path) as node:
        entity = AE(ae_title=CALLING)
        entity.add_requested_context(CTImageStorage, syntax)
        opened = entity.associate("127.0.0.1", node.port, ae_title=CALLED)
        keep_answers(opened)
        assert c_store(opened, sent)[0] == SUCCESS
        opened.release()
        assert node.kept_data_sets() == {f"{INSTANCE}/1": sent}


def test_the_called_ae_title_must_be_ours(tmp_path: Path) -> None:
    with receiving(tmp_path) as node, association(node, called="SOMEBODY") as opened:
        assert opened.is_rejected
        assert opened.acceptor.primitive.reason_str == "Called AE title not recognised"


@pytest.mark.parametrize("allowed", [("MR-1", "CT-10"), ()], ids=["others", "nobody"])
def test_an_unknown_calling_ae_title_is_rejected_with_the_reason(tmp_path: Path, allowed: tuple[str, ...]) -> None:
    with receiving(tmp_path, calling_ae_titles=allowed) as node, association(node) as opened:
        assert opened.is_rejected
        assert opened.acceptor.primitive.reason_str == "Calling AE title not recognised"


def test_a_test_network_may_accept_every_calling_ae_title(tmp_path: Path) -> None:
    with receiving(tmp_path, calling_ae_titles=(), any_calling_ae_title=True) as node, association(node, calling="ANY") as opened:
        assert opened.is_established


def test_one_association_too_many_is_rejected_as_transient(tmp_path: Path) -> None:
    with receiving(tmp_path, maximum_associations=1) as node, association(node) as first, association(node) as second:
        assert first.is_established
        assert second.is_rejected
        assert second.acceptor.primitive.result_str == "Rejected Transient"
        assert second.acceptor.primitive.reason_str == "Local limit exceeded"


@pytest.mark.parametrize("pdu_type", [b"\x01", b"\x04"])
def test_a_pdu_that_announces_four_gigabytes_ends_the_connection_at_once(tmp_path: Path, pdu_type: bytes) -> None:
    with receiving(tmp_path, maximum_associations=1) as node:
        with socket.create_connection(("127.0.0.1", node.port), timeout=10) as peer:
            peer.sendall(pdu_type + b"\x00\xff\xff\xff\xff" + bytes(1000))
            assert hangs_up(peer)
        wait_until(lambda: store_once(node, encoded(ct_slice()))[0] == 0x0000)


def hangs_up(peer: socket.socket) -> bool:
    try:
        return peer.recv(1) == b""
    except ConnectionResetError:
        return True


def test_health_checks_that_only_connect_hold_no_place(tmp_path: Path) -> None:
    with receiving(tmp_path, maximum_associations=2) as node:
        for _ in range(30):
            socket.create_connection(("127.0.0.1", node.port)).close()
        wait_until(lambda: store_once(node, encoded(ct_slice()))[0] == 0x0000)


def test_an_association_aborted_in_the_middle_of_an_object_leaves_no_file(tmp_path: Path) -> None:
    with receiving(tmp_path, maximum_pdu_bytes=4096) as node:
        with association(node) as opened:
            start_c_store(opened, encoded(ct_slice(rows=512)))
            wait_until(lambda: node.files("incoming") != [])
            opened.abort()
        wait_until(lambda: node.files("incoming") == [])
        assert node.files("") == []
        assert node.recorder.instances == []
        assert store_once(node, encoded(ct_slice()))[0] == SUCCESS


def test_a_peer_that_falls_silent_in_the_middle_of_a_pdu_loses_its_association(tmp_path: Path) -> None:
    with receiving(tmp_path, network_timeout_s=0.3) as node, socket.create_connection(("127.0.0.1", node.port), timeout=10) as peer:
        peer.sendall(b"\x01\x00\x00\x00\x10\x00half an A-ASSOCIATE-RQ")
        assert peer.recv(1) == b"", "the connection is still open"


@pytest.mark.parametrize("place", ["in the data set", "in the request attributes", "by calling AE title"])
def test_an_urgent_instance_is_recorded_as_urgent(tmp_path: Path, place: str) -> None:
    data_set = ct_slice()
    if place == "in the data set":
        data_set.RequestedProcedurePriority = "STAT"
    elif place == "in the request attributes":
        item = Dataset()
        item.RequestedProcedurePriority = "HIGH"
        data_set.RequestAttributesSequence = Sequence([item])
    urgent = (CALLING,) if place == "by calling AE title" else ()
    with receiving(tmp_path, urgent_calling_ae_titles=urgent) as node:
        assert store_once(node, encoded(data_set))[0] == SUCCESS
        assert node.recorder.urgent == [True]


def test_a_routine_instance_is_not_urgent_and_may_say_how_many_belong_to_the_study(tmp_path: Path) -> None:
    data_set = ct_slice()
    data_set.RequestedProcedurePriority = "ROUTINE"
    data_set.NumberOfStudyRelatedInstances = 12
    with receiving(tmp_path) as node:
        assert store_once(node, encoded(data_set))[0] == SUCCESS
        assert node.recorder.urgent == [False]
        assert node.recorder.instances[0].expected_instances == 12


def test_verification_answers(tmp_path: Path) -> None:
    with receiving(tmp_path) as node, association(node, sop_class="1.2.840.10008.1.1") as opened:
        assert opened.send_c_echo().Status == SUCCESS


def test_every_transfer_syntax_that_can_be_kept_is_accepted(tmp_path: Path) -> None:
    with receiving(tmp_path) as node:
        entity = AE(ae_title=CALLING)
        entity.requested_contexts = [build_context(CTImageStorage, syntax) for syntax in TRANSFER_SYNTAXES]
        opened = entity.associate("127.0.0.1", node.port, ae_title=CALLED)
        keep_answers(opened)
        assert [context.transfer_syntax[0] for context in opened.accepted_contexts] == list(TRANSFER_SYNTAXES)
        opened.release()


def test_retired_ultrasound_is_taken(tmp_path: Path) -> None:
    sop_class = RETIRED_SOP_CLASSES["UltrasoundImageStorageRetired"]
    data_set = ct_slice()
    data_set.SOPClassUID = sop_class
    with receiving(tmp_path) as node, association(node, sop_class=sop_class) as opened:
        assert c_store(opened, encoded(data_set), sop_class_uid=sop_class)[0] == SUCCESS


def test_a_sop_class_that_nobody_knows_gets_no_presentation_context_and_the_others_do(tmp_path: Path) -> None:
    with receiving(tmp_path) as node:
        entity = AE(ae_title=CALLING)
        entity.add_requested_context("1.2.826.0.1.3680043.9.1234.1")
        entity.add_requested_context(CTImageStorage)
        opened = entity.associate("127.0.0.1", node.port, ae_title=CALLED)
        keep_answers(opened)
        assert [context.abstract_syntax for context in opened.accepted_contexts] == [CTImageStorage]
        opened.release()


def test_a_peer_that_offers_a_lossy_syntax_beside_a_plain_one_gets_the_plain_one(tmp_path: Path) -> None:
    with receiving(tmp_path) as node:
        entity = AE(ae_title=CALLING)
        entity.add_requested_context(CTImageStorage, ["1.2.840.10008.1.2.4.50", ImplicitVRLittleEndian])
        opened = entity.associate("127.0.0.1", node.port, ae_title=CALLED)
        keep_answers(opened)
        assert [context.transfer_syntax[0] for context in opened.accepted_contexts] == [ImplicitVRLittleEndian]
        opened.release()


def test_the_log_names_uids_and_reasons_but_no_patient(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with structlog.testing.capture_logs() as logged, receiving(tmp_path) as node:
        store_once(node, encoded(ct_slice()))
        store_once(node, without("StudyInstanceUID"))
        store_once(node, encoded(ct_slice("CANARY^PHI")), sop_instance_uid="CANARY^PHI")
        store_once(node, b"CANARY^PHI" * 100)
        with association(node, called="SOMEBODY"):
            pass
    events = [entry["event"] for entry in logged]
    assert {"association_accepted", "association_rejected", "instance_stored", "instance_refused"} <= set(events)
    assert "CANARY" not in str(logged)
    captured = capfd.readouterr()
    assert "CANARY" not in captured.out + captured.err
