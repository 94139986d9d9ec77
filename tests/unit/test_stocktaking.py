"""`ledger check`: every row against its file and every file against its row; and what may be repaired."""

import json
import os
import sqlite3
from contextlib import closing
from datetime import timedelta

import pytest

from dicom_node import steps
from dicom_node.keeping.stocktaking import ProblemKind, take_stock, tidy
from tests.builders import radiograph_file, uid
from tests.node.running import run
from tests.whole_node import whole_node


@pytest.fixture
def node(tmp_path):
    with whole_node(tmp_path) as node:
        node.receive(*(radiograph_file(tmp_path / f"{n}.dcm", study_uid=uid("study", n)) for n in (1, 2)))
        node.report()
        yield node


def stock(node, **how):
    """As of tomorrow: what is on its way to a row now is there then."""
    return take_stock(node.ledger, node.store, now=node.now.replace(year=2100), **how)


def kinds(taken):
    return [problem.kind for problem in taken.problems]


def absolute(node, folder, number=0):
    return node.store.absolute(node.files(folder)[number])


def test_a_node_that_nothing_happened_to_has_no_problems(node):
    taken = stock(node)
    assert (taken.problems, taken.files) == ((), 6)
    assert taken.bytes_read > 20_000


@pytest.mark.parametrize("folder", ["received", "analyses", "results"])
def test_a_lost_file_is_told_and_cannot_be_repaired(node, folder):
    absolute(node, folder).unlink()
    taken = stock(node, repair=True)
    assert kinds(taken) == [ProblemKind.MISSING]
    assert taken.standing == taken.problems


@pytest.mark.parametrize("folder", ["received", "results"])
def test_one_changed_byte_is_told_unless_files_are_not_to_be_read(node, folder):
    path = absolute(node, folder)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)
    assert kinds(stock(node)) == [ProblemKind.DAMAGED]
    assert stock(node, digests=False).problems == ()


def test_a_received_file_without_a_row_is_recorded_or_quarantined(node):
    (node.store.absolute(node.files("received")[0]).parent / "left.dcm").write_bytes(b"not what it was")
    taken = stock(node, repair=True)
    assert kinds(taken) == [ProblemKind.ORPHAN]
    assert taken.standing == ()
    assert len(node.ledger.quarantine_rows()) == 1
    assert stock(node).problems == ()


def test_a_quarantined_file_without_a_row_gets_one(node):
    (node.store.absolute(node.files("received")[0]).parents[2] / "quarantine" / "kept.dcm").write_bytes(b"bytes")
    assert stock(node, repair=True).standing == ()
    assert [row.reason for row in node.ledger.quarantine_rows()] == ["found without a row"]


def test_an_analysis_that_nobody_can_use_is_removed_and_one_that_is_waited_for_stays(node, tmp_path):
    unused = node.store.absolute(node.files("analyses")[0]).parent / "0.json"
    unused.write_bytes(b"{}")
    node.receive(radiograph_file(tmp_path / "3.dcm", study_uid=uid("study", 3)))
    node.pass_time(minutes=5)
    steps.settle(node.node)
    steps.route(node.node)
    assert tidy(node.ledger, node.store, now=node.now.replace(year=2100)) == 0, "written after the item that waits was made"
    os.utime(unused, times=(0, 0))
    assert tidy(node.ledger, node.store, now=node.now.replace(year=2100)) == 1


def test_a_young_file_without_a_row_is_no_problem(node):
    (node.store.absolute(node.files("received")[0]).parent / "on-its-way.dcm").write_bytes(b"x")
    on_disk = node.store.absolute(node.files("received")[0]).stat().st_mtime
    now = node.now.fromtimestamp(on_disk, tz=node.now.tzinfo)
    assert take_stock(node.ledger, node.store, now=now).problems == ()


def test_a_lease_of_a_dead_process_is_freed(node, tmp_path):
    node.receive(radiograph_file(tmp_path / "3.dcm", study_uid=uid("study", 3)))
    node.pass_time(minutes=5)
    steps.settle(node.node)
    steps.route(node.node)
    node.ledger.claim_work(owner=f"{os.uname().nodename}/4194303", now=node.now, lease_s=9999)
    taken = stock(node, repair=True)
    assert [(problem.kind, problem.repaired) for problem in taken.problems] == [(ProblemKind.LEASE, True)]
    assert node.ledger.claim_work(owner="next", now=node.now, lease_s=60) is not None


def test_a_report_that_everybody_took_becomes_delivered(node):
    with closing(sqlite3.connect(node.folder / "node" / "ledger.sqlite")) as connection, connection:
        connection.execute("UPDATE work_items SET state = 'ENCODED' WHERE id = 1")
    taken = stock(node, repair=True)
    assert [(problem.kind, problem.repaired) for problem in taken.problems] == [(ProblemKind.CONTRADICTION, True)]
    assert {item.state for row in node.ledger.study_rows() for item in row.work_items} == {"DELIVERED"}


@pytest.mark.parametrize(
    "lie",
    [
        "UPDATE deliveries SET state = 'PENDING' WHERE id = 1",
        "UPDATE work_items SET state = 'ANALYSED', analysis_path = NULL WHERE id = 1",
        "UPDATE studies SET routed_revision = 9",
    ],
)
def test_rows_that_contradict_each_other_are_told_and_left_alone(node, lie):
    with closing(sqlite3.connect(node.folder / "node" / "ledger.sqlite")) as connection, connection:
        connection.execute(lie)
    taken = stock(node, repair=True)
    assert ProblemKind.CONTRADICTION in kinds(taken)
    assert any(problem.kind is ProblemKind.CONTRADICTION for problem in taken.standing)


def test_rows_of_instances_that_are_gone_are_made_again_of_their_files(node):
    with closing(sqlite3.connect(node.folder / "node" / "ledger.sqlite")) as connection, connection:
        connection.execute("DELETE FROM instances")
    assert len(stock(node, repair=True).problems) == 4
    assert stock(node).problems == ()


def test_the_command_ends_with_1_until_what_is_wrong_is_repaired(node):
    node.pass_time(days=365 * 74)
    kept = node.store.absolute(node.files("received")[0]).parents[2] / "quarantine" / "kept.dcm"
    kept.write_bytes(b"bytes")
    os.utime(kept, times=(0, 0))
    config = ("--config", node.settings_file)
    checked = run("ledger", "check", "--json", *config)
    assert (checked.returncode, json.loads(checked.stdout)["standing"]) == (1, 1)
    assert run("ledger", "check", "--repair", *config).returncode == 0
    assert run("ledger", "check", "--quick", *config).returncode == 0


def test_a_check_while_the_node_receives_finds_nothing(node, tmp_path):
    for number in range(3, 6):
        node.receive(radiograph_file(tmp_path / f"{number}.dcm", study_uid=uid("study", number)))
        assert take_stock(node.ledger, node.store, now=node.now + timedelta(seconds=1)).problems == ()
