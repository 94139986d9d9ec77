"""After a crash, the start-up scan makes the store and the ledger agree again."""

import os
import shutil
import sqlite3
import threading
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dicom_node.keeping import object_store
from dicom_node.keeping.object_store import ObjectStore
from dicom_node.keeping.reconcile import Reconciled, reconcile
from dicom_node.ledger import Ledger
from tests.fakes import FakeInstanceRecorder
from tests.receiving import CALLING, INSTANCE, STUDY, ct_slice, encoded, receiving, store_once

NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


def killed_before_the_row(folder: Path) -> None:
    """Leave what a node leaves that is killed between the answer and the row."""
    with receiving(folder, recorder=FakeInstanceRecorder(failure=RuntimeError("killed here"))) as node:
        assert store_once(node, encoded(ct_slice()))[0] == 0x0000


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")


def test_a_file_without_a_row_is_recorded_from_its_own_header(tmp_path: Path, ledger: Ledger) -> None:
    killed_before_the_row(tmp_path / "objects")
    assert reconcile(ObjectStore(tmp_path / "objects"), ledger, now=NOW) == Reconciled(found_again=1, quarantined=0, temporary_removed=0)
    (study,) = ledger.open_studies()
    assert (study.study_instance_uid, study.instances, study.modalities) == (STUDY, 1, ("CT",))


def test_who_sent_it_is_still_known(tmp_path: Path) -> None:
    killed_before_the_row(tmp_path)
    rows = FakeInstanceRecorder()
    reconcile(ObjectStore(tmp_path), rows, now=NOW, urgent_calling_ae_titles=(CALLING,))
    (instance,) = rows.instances
    assert (instance.calling_ae_title, instance.sop_instance_uid, instance.size_bytes) == (CALLING, INSTANCE, len(encoded(ct_slice())))
    assert rows.urgent == [True]


def test_a_second_scan_finds_nothing(tmp_path: Path, ledger: Ledger) -> None:
    killed_before_the_row(tmp_path / "objects")
    store = ObjectStore(tmp_path / "objects")
    reconcile(store, ledger, now=NOW)
    assert reconcile(store, ledger, now=NOW) == Reconciled(found_again=0, quarantined=0, temporary_removed=0)


def test_what_was_received_and_recorded_is_left_alone(tmp_path: Path) -> None:
    with receiving(tmp_path) as node:
        store_once(node, encoded(ct_slice()))
        assert reconcile(node.store, node.recorder, now=NOW).found_again == 0


def test_a_row_that_went_with_the_power_comes_back_as_it_was(tmp_path: Path, ledger: Ledger) -> None:
    before = tmp_path / "before"
    before.mkdir()
    for file in tmp_path.glob("ledger.sqlite*"):
        shutil.copy(file, before)
    with receiving(tmp_path / "objects", recorder=ledger) as node:
        assert store_once(node, encoded(ct_slice()))[0] == 0x0000
    then = row(tmp_path / "ledger.sqlite")
    # Nothing of the ledger reached the disk since; of the object, everything did before the answer.
    after = Ledger(f"sqlite:///{before / 'ledger.sqlite'}")
    assert reconcile(ObjectStore(tmp_path / "objects"), after, now=NOW).found_again == 1
    now = row(before / "ledger.sqlite")
    received = datetime.fromisoformat(str(then.pop("received_at"))) - datetime.fromisoformat(str(now.pop("received_at")))
    assert now == then
    assert abs(received.total_seconds()) < 60


def row(path: Path) -> dict[str, object]:
    with closing(sqlite3.connect(path)) as database:
        database.row_factory = sqlite3.Row
        (found,) = database.execute("SELECT * FROM instances").fetchall()
        return dict(found)


@pytest.mark.parametrize("newer", [7, 8])
def test_the_version_that_arrived_last_is_the_newest_also_if_none_had_a_row(tmp_path: Path, newer: int) -> None:
    kept: list[Path] = []
    for shade in (15 - newer, newer):
        with receiving(tmp_path, recorder=FakeInstanceRecorder(failure=RuntimeError("killed here"))) as node:
            assert store_once(node, encoded(ct_slice(shade=shade)))[0] == 0x0000
        (new,) = {*(tmp_path / "received").rglob("*.dcm")} - {*kept}
        os.utime(new, (len(kept) + 1, len(kept) + 1))
        kept.append(new)
    rows = FakeInstanceRecorder()
    reconcile(ObjectStore(tmp_path), rows, now=NOW)
    assert [tmp_path / instance.path for instance in rows.instances] == kept
    assert [instance.version for instance in rows.instances] == [1, 2]


def test_a_name_that_outlived_a_loss_of_power_without_its_bytes_goes(tmp_path: Path, ledger: Ledger) -> None:
    killed_before_the_row(tmp_path / "objects")
    (kept,) = (tmp_path / "objects/received").rglob("*.dcm")
    os.truncate(kept, 0)
    assert reconcile(ObjectStore(tmp_path / "objects"), ledger, now=NOW) == Reconciled(found_again=0, quarantined=0, temporary_removed=1)
    assert not kept.exists()
    assert ledger.known_paths() == frozenset()


@pytest.mark.parametrize("damage", [b"flipped", b"no DICOM at all"])
def test_a_file_that_is_not_what_its_name_says_goes_to_quarantine(tmp_path: Path, damage: bytes) -> None:
    killed_before_the_row(tmp_path)
    (path,) = (tmp_path / "received").rglob("*.dcm")
    path.write_bytes(path.read_bytes()[:-7] + damage if damage == b"flipped" else damage)
    rows = FakeInstanceRecorder()
    assert reconcile(ObjectStore(tmp_path), rows, now=NOW) == Reconciled(found_again=0, quarantined=1, temporary_removed=0)
    assert rows.instances == []
    assert len(rows.quarantined) == 1


def test_what_is_found_again_is_made_durable_before_its_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed_before_the_row(tmp_path)
    (path,) = (tmp_path / "received").rglob("*.dcm")
    done: list[str] = []
    monkeypatch.setattr(object_store, "synchronise", lambda place: done.append(os.fspath(place)))
    rows = FakeInstanceRecorder()
    monkeypatch.setattr(rows, "record_instance", lambda *_, **__: done.append("row"))
    reconcile(ObjectStore(tmp_path), rows, now=NOW)
    assert done[-3:] == [os.fspath(path), os.fspath(path.parent), "row"]


def test_one_process_scans_at_a_time(tmp_path: Path) -> None:
    killed_before_the_row(tmp_path)
    store, rows = ObjectStore(tmp_path), FakeInstanceRecorder()
    scan = threading.Thread(target=reconcile, args=(store, rows), kwargs={"now": NOW})
    with store.scanned_alone():
        scan.start()
        scan.join(0.3)
        assert scan.is_alive()
        assert rows.instances == []
    scan.join(10)
    assert len(rows.instances) == 1


def test_temporary_files_are_removed(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path)
    (tmp_path / "incoming" / "left.part").write_bytes(b"half an object")
    assert reconcile(store, FakeInstanceRecorder(), now=NOW).temporary_removed == 1
    assert list((tmp_path / "incoming").iterdir()) == []
