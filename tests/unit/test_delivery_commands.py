"""`dicom-node deliveries` and `destinations`: what an administrator sees of destinations and decides about what waits for them."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from dicom_node.commands import app
from dicom_node.commands.opening import existing_node
from dicom_node.delivery.circuit import unbroken
from dicom_node.demo.archive import Archive
from dicom_node.ledger import Ledger
from dicom_node.processes.readiness import destinations as told_by_readyz
from dicom_node.telemetry import LedgerCollector
from tests.peers.reports import structured_report
from tests.peers.scripted import unused_port
from tests.peers.sending import Outbox

SR = "1.2.840.10008.5.1.4.1.1.88.34"
PARKED, WAITING = "2.25.1", "2.25.2"
RUNNER = CliRunner()


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    """Two results of two studies: one is parked for the archive, one waits for it."""
    box = Outbox(tmp_path / "node")
    for uid, study in ((PARKED, "2.25.101"), (WAITING, "2.25.102")):
        box.add(box.keep(structured_report(uid), uid=uid, sop_class_uid=SR, destinations=("pacs",)), study=study)
    now = datetime.now(UTC)
    claimed = box.ledger.claim_delivery(destination="pacs", owner="test", now=now, lease_s=60)
    assert claimed is not None
    reason = "pacs answered 0xC000 for 2.25.1: cannot understand the object; its log says why"
    box.ledger.record_delivery_failure(claimed, reason=reason, status="0xC000", retry_at=None, now=now)
    yield box
    box.ledger.close()


def settings(folder: Path, *destinations: dict[str, object], **sections: object) -> Path:
    file = folder / "node.yaml"
    pacs = {"kind": "c-store", "name": "pacs", "host": "127.0.0.1", "port": unused_port(), "ae_title": "ARCHIVE", "timeout_s": 2}
    file.write_text(yaml.safe_dump({"node": {"data_folder": "node"}, "destinations": list(destinations or (pacs,)), **sections}))
    return file


def dn(file: Path, *arguments: str) -> Result:
    return RUNNER.invoke(app, [*arguments, "--config", str(file)])


def test_the_list_shows_what_is_parked_with_the_answer_and_what_waits(outbox: Outbox, tmp_path: Path) -> None:
    answer = json.loads(dn(settings(tmp_path), "deliveries", "list", "--json").stdout)
    assert [(row["sop_instance_uid"], row["state"], row["status"]) for row in answer["deliveries"]] == [
        (PARKED, "FAILED", "0xC000"),
        (WAITING, "PENDING", None),
    ]
    (pacs,) = answer["destinations"]
    assert (pacs["destination"], pacs["circuit"], pacs["pending"], pacs["parked"]) == ("pacs", "CLOSED", 1, 1)
    shown = dn(settings(tmp_path), "deliveries", "list").stdout
    assert "PARKED" in shown
    assert "0xC000" in shown


def test_the_list_can_be_narrowed(outbox: Outbox, tmp_path: Path) -> None:
    def uids(*arguments: str) -> list[str]:
        answer = json.loads(dn(settings(tmp_path), "deliveries", "list", "--json", *arguments).stdout)
        return [row["sop_instance_uid"] for row in answer["deliveries"]]

    assert uids("--state", "parked") == [PARKED]
    assert uids("--state", "pending") == [WAITING]
    assert uids("--state", "accepted") == []
    assert uids("--study", "2.25.102") == [WAITING]
    assert uids("--destination", "elsewhere") == []
    assert uids("--limit", "1") == [PARKED]
    assert dn(settings(tmp_path), "deliveries", "list", "--state", "lost").exit_code == 2


def test_retry_makes_what_is_parked_due_and_lets_an_open_circuit_try_now(outbox: Outbox, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    outbox.ledger.record_circuit("pacs", unbroken(now).failed(reason="down", wait_s=900, failures_to_open=1, now=now))
    done = dn(settings(tmp_path), "deliveries", "retry", "--destination", "pacs", "--json")
    assert json.loads(done.stdout) == {"retried": 2}
    assert [record.state for record in outbox.records()] == ["PENDING", "PENDING"]
    assert outbox.records()[0].attempts == 0
    assert not outbox.ledger.circuit("pacs", now=now).is_waiting(datetime.now(UTC))
    assert any(event.startswith("delivery retried: pacs: 2.25.1 by ") for event in outbox.events("2.25.101"))


def test_drop_is_final_and_kept_with_who_and_why(outbox: Outbox, tmp_path: Path) -> None:
    file = settings(tmp_path)
    number = str(outbox.records()[0].id)
    assert dn(file, "deliveries", "drop", number, "--why", "the archive was replaced").stdout == "1 dropped\n"
    assert outbox.states() == {PARKED: "DROPPED", WAITING: "PENDING"}
    (event,) = [found for found in outbox.events("2.25.101") if found.startswith("delivery dropped")]
    assert "the archive was replaced" in event
    assert " by " in event
    assert dn(file, "deliveries", "retry", number).exit_code == 1
    assert dn(file, "deliveries", "drop", number, "--why", "again").exit_code == 1
    (row,) = outbox.ledger.study_rows("2.25.101")
    assert row.work_items[0].state == "DELIVERED", "nothing is left to send"
    assert "dropped" in json.loads(dn(file, "status", "2.25.101", "--json").stdout)["studies"][0]["fate"]


def test_nothing_is_retried_or_dropped_by_accident(outbox: Outbox, tmp_path: Path) -> None:
    file = settings(tmp_path)
    assert dn(file, "deliveries", "retry").exit_code == 2
    assert dn(file, "deliveries", "drop", "--why", "all").exit_code == 2
    assert dn(file, "deliveries", "drop", "1", "--why", "  ").exit_code == 2
    assert dn(file, "deliveries", "drop", "1").exit_code == 2
    assert outbox.states() == {PARKED: "FAILED", WAITING: "PENDING"}


def test_what_is_being_sent_right_now_cannot_be_dropped(outbox: Outbox, tmp_path: Path) -> None:
    outbox.ledger.claim_delivery(destination="pacs", owner="test", now=datetime.now(UTC), lease_s=60)
    assert dn(settings(tmp_path), "deliveries", "drop", "--study", "2.25.102", "--why", "late").exit_code == 1
    assert outbox.states()[WAITING] == "PENDING"


def test_status_readyz_and_metrics_tell_of_a_destination_that_takes_nothing(outbox: Outbox, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    reason = "pacs is not reachable at 127.0.0.1:104; is it running, is the network open?"
    outbox.ledger.record_circuit("pacs", unbroken(now).failed(reason=reason, wait_s=60, failures_to_open=1, now=now))
    file = settings(tmp_path)
    shown = " ".join(dn(file, "status").stdout.split())
    assert "Destination pacs takes nothing since" in shown
    assert "1 parked for pacs" in shown
    assert json.loads(dn(file, "status", "--json").stdout)["destinations"][0]["circuit"] == "OPEN"
    assert told_by_readyz(existing_node(file)) == {"pacs": f"OPEN: {reason}"}
    node = existing_node(file)
    gauges = {gauge.name: gauge for gauge in LedgerCollector(outbox.ledger, node.store, dict).collect()}
    states = {sample.labels["state"]: sample.value for sample in gauges["dicom_node_destination_circuit"].samples}
    assert states == {"CLOSED": 0, "OPEN": 1, "HALF_OPEN": 0}
    assert [sample.value for sample in gauges["dicom_node_destination_parked"].samples] == [1]


def test_only_one_sender_probes_an_open_circuit(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    url = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    one, two = Ledger(url), Ledger(url)
    one.record_circuit("pacs", unbroken(now).failed(reason="down", wait_s=60, failures_to_open=1, now=now))
    due = now + timedelta(seconds=61)
    assert not two.begin_probe("pacs", now=now, lease_s=30), "before its time"
    assert [ledger.begin_probe("pacs", now=due, lease_s=30) for ledger in (one, two)] == [True, False]
    assert two.begin_probe("pacs", now=due + timedelta(seconds=31), lease_s=30), "the first one died"
    assert one.close_circuit("pacs", now=due)
    assert not one.close_circuit("pacs", now=due)
    one.close()
    two.close()


def test_each_destination_is_asked_and_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "outbox").mkdir()
    with Archive(tmp_path / "archive") as archive:
        file = settings(
            tmp_path,
            {"kind": "c-store", "name": "pacs", "host": "127.0.0.1", "port": archive.port, "ae_title": "ARCHIVE"},
            {"kind": "hl7", "name": "ris", "host": "127.0.0.1", "port": unused_port(), "timeout_s": 2},
            {"kind": "folder", "name": "share", "folder": "outbox"},
        )
        done = dn(file, "destinations", "--json")
        assert done.exit_code == 1
        pacs, ris, share = json.loads(done.stdout)
        assert archive.received() == ()
    assert pacs["answer"].startswith("C-ECHO 0x0000, reports as comprehensive-3d")
    assert ris["problem"].startswith("ris is not reachable at 127.0.0.1")
    assert (share["answer"], share["problem"]) == ("writable", "")
    assert list((tmp_path / "outbox").iterdir()) == []
    assert dn(file, "destinations", "share").exit_code == 0
    assert "ris" in dn(file, "destinations", "rsi").output


@pytest.mark.parametrize(
    ("destination", "field", "words"),
    [
        ({"kind": "stow", "url": "pacs/dicom-web"}, "url", "is not the URL of a web service"),
        ({"kind": "stow", "url": "https://me:secret@pacs/dicom-web"}, "url", "must not hold a user"),
        ({"kind": "stow", "url": "https://pacs/dicom-web", "bearer_token_file": "gone"}, "bearer_token_file", "put the token there"),
        ({"kind": "fhir", "url": "http://ehr/fhir", "bearer_token_variable": "TOKEN"}, "", "write https:// in url"),
        ({"kind": "fhir", "url": "http://ehr/fhir", "tls": {}}, "", "would not use it"),
        ({"kind": "hl7", "host": "ris", "port": 2575, "results": ["sr-findings"]}, "results", "hl7-oru"),
        ({"kind": "c-store", "host": "pacs", "port": 104, "ae_title": "A", "results": ["fhir-report"]}, "results", "sr-findings"),
        ({"kind": "c-store", "host": "pacs", "port": 104, "ae_title": "A", "results": []}, "results", ""),
        ({"kind": "c-store", "host": "pacs", "port": 0, "ae_title": "A"}, "port", "greater than or equal to 1"),
        ({"kind": "hl7", "host": "ris", "port": 2575, "results": ["hl7-oru", "hl7-oru"]}, "results", "listed twice"),
        ({"kind": "hl7", "host": "same", "port": 1}, "", "already sends to same:1"),
        ({"kind": "mllp", "host": "ris", "port": 2575}, "kind", "known are"),
    ],
)
def test_check_config_names_the_mistake_and_its_place(tmp_path: Path, destination: dict[str, object], field: str, words: str) -> None:
    first = {"kind": "hl7", "name": "first", "host": "same", "port": 1}
    file = settings(tmp_path, first, {"name": "there", **destination}, receive={"any_calling_ae_title": True})
    done = dn_check(file)
    assert done.exit_code == 1
    (mistake, *_) = json.loads(done.stdout)["mistakes"]
    assert mistake["field"].startswith(f"destinations[1]{'.' if field else ''}{field}")
    assert words in mistake["message"]
    assert mistake["line"] > 1


def dn_check(file: Path) -> Result:
    return RUNNER.invoke(app, ["check-config", str(file), "--json"])
