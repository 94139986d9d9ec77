"""The modality emulator sends files as they lie and accounts for each of them."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider

from dicom_node import emulator
from dicom_node.emulator import Sent, files_in, send_files
from dicom_node.receiving.capabilities import STORED_SOP_CLASSES
from tests.receiving import CALLED, CALLING, INSTANCE, Node, ct_slice, encoded, receiving, write_file


def send(node: Node, paths: list[Path], **settings: int) -> tuple[Sent, ...]:
    return send_files(paths, host="127.0.0.1", port=node.port, called=CALLED, calling=CALLING, **settings)


@pytest.mark.parametrize(
    "syntax",
    [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian],
    ids=lambda uid: uid.name,
)
def test_a_data_set_arrives_byte_for_byte(tmp_path: Path, syntax: str) -> None:
    path = write_file(tmp_path / "slice.dcm", ct_slice(rows=300), syntax)
    with receiving(tmp_path / "node") as node:
        (sent,) = send(node, [path])
        assert (sent.path, sent.sop_instance_uid, sent.status, sent.accepted) == (path, INSTANCE, 0x0000, True)
        (kept,) = node.kept_data_sets().values()
        assert path.read_bytes().endswith(kept)
        assert len(kept) > len(path.read_bytes()) - 1000
        assert node.recorder.instances[0].transfer_syntax_uid == syntax


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian], ids=lambda uid: uid.name)
def test_a_file_without_file_meta_information_is_sent_in_the_encoding_that_it_has(tmp_path: Path, syntax: str) -> None:
    path = tmp_path / "bare.dcm"
    path.write_bytes(encoded(ct_slice(), syntax))
    with receiving(tmp_path / "node") as node:
        assert [sent.status for sent in send(node, [path])] == [0x0000]
        assert list(node.kept_data_sets().values()) == [path.read_bytes()]


def test_a_file_meta_information_that_names_another_instance_does_not_matter(tmp_path: Path) -> None:
    data_set = ct_slice()
    path = write_file(tmp_path / "slice.dcm", data_set)
    path.write_bytes(path.read_bytes().replace(INSTANCE.encode(), b"2.25.9999", 1))
    with receiving(tmp_path / "node") as node:
        assert [sent.status for sent in send(node, [path])] == [0x0000]
        assert list(node.kept_data_sets().values()) == [encoded(data_set)]


def test_files_that_cannot_be_sent_are_named_with_the_reason(tmp_path: Path) -> None:
    text, empty, missing = tmp_path / "notes.txt", tmp_path / "empty.dcm", tmp_path / "missing.dcm"
    text.write_text("CANARY^PHI was here")
    empty.touch()
    good = write_file(tmp_path / "good.dcm", ct_slice())
    with receiving(tmp_path / "node") as node:
        results = send(node, [text, good, empty, missing])
    assert [sent.path for sent in results] == [text, good, empty, missing]
    assert [sent.status for sent in results] == [None, 0x0000, None, None]
    assert all(sent.reason for sent in results if sent.status is None)
    assert "CANARY" not in str(results)


def test_the_peers_own_status_and_comment_are_reported(tmp_path: Path) -> None:
    data_set = ct_slice()
    del data_set.StudyInstanceUID
    with receiving(tmp_path / "node") as node:
        (sent,) = send(node, [write_file(tmp_path / "odd.dcm", data_set)])
    assert (sent.status, sent.reason, sent.accepted) == (0xA900, "Study Instance UID is missing or no valid UID", False)


def test_a_rejected_association_is_reported_for_each_file(tmp_path: Path) -> None:
    """Each of many: a rejection that came before pynetdicom looked was taken for an abort, one time in ten."""
    paths = [write_file(tmp_path / f"{number}.dcm", ct_slice(generate_uid())) for number in range(25)]
    with receiving(tmp_path / "node", calling_ae_titles=("OTHER",)) as node:
        results = send(node, paths)
    assert [(sent.status, sent.reason) for sent in results] == [(None, "association rejected: Calling AE title not recognised")] * 25


def test_a_peer_that_is_not_there_is_reported(tmp_path: Path) -> None:
    path = write_file(tmp_path / "slice.dcm", ct_slice())
    with receiving(tmp_path / "node") as node:
        port = node.port
    (sent,) = send_files([path], host="127.0.0.1", port=port, called=CALLED, calling=CALLING)
    assert (sent.status, sent.reason) == (None, "no association: the peer does not answer or aborted")


def test_a_sop_class_that_the_peer_does_not_take_does_not_stop_the_others(tmp_path: Path) -> None:
    private = ct_slice("2.25.77")
    private.SOPClassUID = "2.25.123456"
    paths = [write_file(tmp_path / "private.dcm", private), write_file(tmp_path / "slice.dcm", ct_slice())]
    with receiving(tmp_path / "node") as node:
        results = send(node, paths)
    assert [sent.status for sent in results] == [None, 0x0000]
    assert "does not accept this SOP class" in results[0].reason


def test_parallel_associations_send_every_file_once(tmp_path: Path) -> None:
    paths = [write_file(tmp_path / f"{number}.dcm", ct_slice(generate_uid())) for number in range(20)]
    seen: list[Path] = []
    with receiving(tmp_path / "node") as node:
        results = send_files(
            paths,
            host="127.0.0.1",
            port=node.port,
            called=CALLED,
            calling=CALLING,
            associations=4,
            progress=lambda sent: seen.append(sent.path),
        )
        assert len(node.kept_data_sets()) == 20
    assert [sent.path for sent in results] == paths
    assert all(sent.accepted for sent in results)
    assert sorted(seen) == sorted(paths)


def test_more_kinds_of_object_than_one_association_can_name_are_sent_over_several(tmp_path: Path) -> None:
    paths = []
    for number, sop_class_uid in enumerate(STORED_SOP_CLASSES[:140]):
        data_set = ct_slice(f"2.25.{number + 1}")
        data_set.SOPClassUID = sop_class_uid
        paths.append(write_file(tmp_path / f"{number:03}.dcm", data_set))
    with receiving(tmp_path / "node") as node:
        assert all(sent.accepted for sent in send(node, paths))
        assert len(node.kept_data_sets()) == 140


def test_folders_are_searched_in_order(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for name in ("b/2", "b/1", "a"):
        (tmp_path / name).touch()
    assert files_in([tmp_path / "b", tmp_path / "a"]) == (tmp_path / "b/1", tmp_path / "b/2", tmp_path / "a")


def test_pynetdicoms_own_thread_takes_no_answer_however_busy_the_machine_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wait, get = threading.Event.wait, DIMSEServiceProvider.get_msg

    def go_on_late(event: threading.Event, timeout: float | None = None) -> bool:
        occurred = wait(event, timeout)
        if isinstance(threading.current_thread(), Association):
            time.sleep(0.005)
        return occurred

    def look_for_long(provider: DIMSEServiceProvider, block: bool = False) -> Any:
        found = get(provider, block)
        until = time.monotonic() + 0.02
        while not block and found == (None, None) and time.monotonic() < until:
            found = get(provider, block)
        return found

    monkeypatch.setattr(threading.Event, "wait", go_on_late)
    monkeypatch.setattr(DIMSEServiceProvider, "get_msg", look_for_long)
    monkeypatch.setattr(emulator, "_TIMEOUT_S", 2)
    paths = [write_file(tmp_path / f"{number}.dcm", ct_slice(generate_uid())) for number in range(30)]
    with receiving(tmp_path / "node") as node:
        assert all(sent.accepted for sent in send(node, paths))
