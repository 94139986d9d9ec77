"""Backup and restore: what was backed up is there again, and the node goes on from it."""

import json
import sqlite3
from contextlib import closing

import pytest

from dicom_node.keeping.backup import BackupError, back_up, read_manifest, restore
from dicom_node.keeping.object_store import ObjectStore
from dicom_node.keeping.stocktaking import take_stock
from dicom_node.ledger import Ledger
from tests.builders import radiograph_file, uid
from tests.node.running import run
from tests.whole_node import NOON, whole_node


@pytest.fixture
def node(tmp_path):
    with whole_node(tmp_path) as node:
        node.receive(radiograph_file(tmp_path / "1.dcm", study_uid=uid("study", 1)))
        node.report()
        yield node


@pytest.fixture
def data(node):
    return node.node.settings.node.data_folder


def test_a_backup_of_a_running_node_holds_everything_as_of_one_moment(node, data, tmp_path):
    made = back_up(data, tmp_path / "backup", now=NOON)
    node.receive(radiograph_file(tmp_path / "2.dcm", study_uid=uid("study", 2)))
    assert (made.files, made.copied, made.missing) == (3, 3, ())
    restore(tmp_path / "backup", tmp_path / "restored")
    ledger = Ledger(f"sqlite:///{tmp_path / 'restored' / 'ledger.sqlite'}")
    assert [row.study_instance_uid for row in ledger.study_rows()] == [uid("study", 1)]
    assert take_stock(ledger, ObjectStore(tmp_path / "restored" / "objects"), now=NOON.replace(year=2100)).problems == ()
    ledger.close()


def test_a_second_backup_copies_only_what_is_new(node, data, tmp_path):
    back_up(data, tmp_path / "backup", now=NOON)
    node.receive(radiograph_file(tmp_path / "2.dcm", study_uid=uid("study", 2)))
    again = back_up(data, tmp_path / "backup", now=NOON)
    assert (again.files, again.copied) == (4, 1)


def test_a_restored_node_goes_on_and_sends_nothing_twice(node, data, tmp_path):
    node.receive(radiograph_file(tmp_path / "2.dcm", study_uid=uid("study", 2)))
    back_up(data, tmp_path / "backup", now=NOON)
    data.rename(tmp_path / "lost")
    restore(tmp_path / "backup", data)
    with whole_node(tmp_path) as again:
        again.pass_time(hours=1)
        again.report()
        assert {item.state for row in again.ledger.study_rows() for item in row.work_items} == {"DELIVERED"}
        assert len(again.reports()) == 2


def test_what_is_not_there_is_told(node, data, tmp_path):
    node.store.absolute(node.files("received")[0]).unlink()
    assert len(back_up(data, tmp_path / "backup", now=NOON).missing) == 1


def test_a_backup_that_was_cut_short_cannot_be_restored(data, tmp_path):
    back_up(data, tmp_path / "backup", now=NOON)
    (tmp_path / "backup" / "backup.json").unlink()
    with pytest.raises(BackupError, match="no whole backup"):
        restore(tmp_path / "backup", tmp_path / "restored")


def test_nothing_is_restored_over_a_ledger(data, tmp_path):
    back_up(data, tmp_path / "backup", now=NOON)
    with pytest.raises(BackupError, match="already"):
        restore(tmp_path / "backup", data)


def test_a_backup_into_the_data_folder_is_refused(data):
    with pytest.raises(BackupError, match="elsewhere"):
        back_up(data, data / "backup", now=NOON)


def test_a_damaged_ledger_is_not_backed_up_over_a_good_one(data, tmp_path):
    back_up(data, tmp_path / "backup", now=NOON)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "ledger.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(BackupError, match="cannot be copied"):
        back_up(tmp_path / "broken", tmp_path / "backup", now=NOON)
    with closing(sqlite3.connect(tmp_path / "backup" / "ledger.sqlite")) as connection:
        assert connection.execute("SELECT count(*) FROM studies").fetchone() == (1,)


def test_the_manifest_says_what_is_in_it(data, tmp_path):
    made = back_up(data, tmp_path / "backup", now=NOON)
    assert read_manifest(tmp_path / "backup") == made


def test_the_commands_back_up_and_restore(node, data, tmp_path):
    config = ("--config", node.settings_file)
    made = run("ledger", "backup", tmp_path / "backup", "--json", *config)
    assert (made.returncode, json.loads(made.stdout)["files"]) == (0, 3)
    assert run("ledger", "restore", tmp_path / "backup", *config).returncode == 1, "there is a node"
    data.rename(tmp_path / "lost")
    assert run("ledger", "restore", tmp_path / "backup", *config).returncode == 0
    assert run("ledger", "check", *config).returncode == 0
