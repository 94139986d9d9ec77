"""A ledger of every released version is brought up to date with all its rows, and the node goes on with it."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from dicom_node import migrations
from dicom_node.keeping.object_store import ObjectStore
from dicom_node.keeping.stocktaking import take_stock
from dicom_node.ledger import Ledger, tables

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
FIRST = {
    "studies": [
        ("study_instance_uid", "state", "revision", "routed_revision", "urgent", "expected_instances", "first_arrival", "last_arrival"),
        ("1.2.3", "SETTLED", 1, 1, 1, None, "2026-01-05 11:00:00.000000", "2026-01-05 11:00:00.000000"),
    ],
    "instances": [
        (
            "sop_instance_uid",
            "version",
            "study_instance_uid",
            "series_instance_uid",
            "sop_class_uid",
            "transfer_syntax_uid",
            "modality",
            "calling_ae_title",
            "received_at",
            "digest",
            "size_bytes",
            "path",
            "revision",
        ),
        (
            "1.2.3.1",
            1,
            "1.2.3",
            "1.2.3.9",
            "1.2",
            "1.2.840.10008.1.2",
            "CT",
            "CT1",
            "2026-01-05 11:00:00.000000",
            "d1",
            7,
            "received/aa/old.dcm",
            1,
        ),
    ],
    "work_items": [
        (
            "id",
            "study_instance_uid",
            "revision",
            "route",
            "state",
            "urgent",
            "selection",
            "inputs_digest",
            "analysis_path",
            "attempts",
            "not_before",
            "created_at",
            "updated_at",
        ),
        (
            1,
            "1.2.3",
            1,
            "other-ct",
            "ENCODED",
            1,
            b'{"files":[],"excluded":[]}',
            "i1",
            "analyses/aa/old.json",
            0,
            "2026-01-05 11:00:00.000000",
            "2026-01-05 11:00:00.000000",
            "2026-01-05 11:00:00.000000",
        ),
    ],
    "results": [
        ("sop_instance_uid", "work_item_id", "kind", "sop_class_uid", "path", "digest", "created_at"),
        ("2.25.7", 1, "sr-findings", "1.2.840.10008.5.1.4.1.1.88.34", "results/aa/old.dcm", "r1", "2026-01-05 11:00:00.000000"),
    ],
    "deliveries": [
        ("id", "sop_instance_uid", "work_item_id", "destination", "state", "attempts", "not_before", "updated_at"),
        (1, "2.25.7", 1, "pacs", "PENDING", 3, "2026-01-05 11:00:00.000000", "2026-01-05 11:00:00.000000"),
    ],
    "quarantine": [
        ("id", "at", "path", "reason", "calling_ae_title", "sop_instance_uid"),
        (1, "2026-01-05 11:00:00.000000", "quarantine/q.dcm", "unreadable", "CT1", "1.2.3.5"),
    ],
    "events": [
        ("id", "at", "study_instance_uid", "event", "detail"),
        (1, "2026-01-05 11:00:00.000000", "1.2.3", "settled", "revision 1: quiet"),
    ],
}
"""Rows as version 0001 had them; they fit every later version as it was released."""


def released():
    scripts = ScriptDirectory.from_config(configuration())
    return [script.revision for script in reversed(list(scripts.walk_revisions()))]


def configuration():
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    return config


def ledger_of(version, folder):
    """Make a ledger as `version` left it, with rows in it; return its file."""
    file = folder / f"{version}.sqlite"
    with create_engine(f"sqlite:///{file}").begin() as connection:
        config = configuration()
        config.attributes["connection"] = connection
        command.upgrade(config, version)
    with closing(sqlite3.connect(file)) as connection, connection:
        for table, (columns, *rows) in FIRST.items():
            places = ", ".join("?" for _ in columns)
            connection.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})", rows)
    return file


@pytest.mark.parametrize("version", released())
def test_every_row_of_an_older_ledger_is_there_afterwards(version, tmp_path):
    file = ledger_of(version, tmp_path)
    ledger = Ledger(f"sqlite:///{file}")
    (study,) = ledger.study_rows()
    assert (study.study_instance_uid, study.urgent, study.instances, study.held_because) == ("1.2.3", True, 1, None)
    assert [(item.state, item.deliveries[0].attempts) for item in study.work_items] == [("ENCODED", 3)]
    assert [row.reason for row in ledger.quarantine_rows()] == ["unreadable"]
    assert [event.event for event in ledger.history("1.2.3")] == ["settled"]
    ledger.close()
    with create_engine(f"sqlite:///{file}").connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []


@pytest.mark.parametrize("version", released())
def test_the_node_goes_on_with_an_older_ledger(version, tmp_path):
    ledger = Ledger(f"sqlite:///{ledger_of(version, tmp_path)}")
    claimed = ledger.claim_delivery(destination="pacs", owner="d", now=NOON, lease_s=60, learnt_since=NOON)
    assert (claimed.sop_instance_uid, claimed.attempts) == ("2.25.7", 4)
    problems = take_stock(ledger, ObjectStore(tmp_path / "objects"), now=NOON).problems
    assert {problem.subject for problem in problems} == {
        "received/aa/old.dcm",
        "analyses/aa/old.json",
        "results/aa/old.dcm",
        "quarantine/q.dcm",
    }, "the check finds what its rows name and this test did not make"
    ledger.close()


def test_a_ledger_can_go_back_and_forth(tmp_path):
    file = ledger_of("0001", tmp_path)
    Ledger(f"sqlite:///{file}").close()
    with create_engine(f"sqlite:///{file}").begin() as connection:
        config = configuration()
        config.attributes["connection"] = connection
        command.downgrade(config, "0001")
    ledger = Ledger(f"sqlite:///{file}")
    assert len(ledger.study_rows()) == 1
    ledger.close()
