"""The ledger: what is recorded once, what is claimed once, and what an operator can do."""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

from config.schema import SettleSection
from dicom_node import migrations
from dicom_node.delivery import Receipt
from dicom_node.ledger import LeaseLostError, Ledger, LedgerError, NewResult, NewWorkItem, Recorded, tables
from dicom_node.lifecycle import WorkItemState
from dicom_node.settling import why_settled
from dicom_node.study import ReceivedInstance

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
CT = "1.2.840.10008.5.1.4.1.1.2"


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    yield ledger
    ledger.close()


def instance(number=1, *, content="a", study="1.2.3", at=NOON, expected=None):
    digest = hashlib.sha256(f"{study}.{number}.{content}".encode()).hexdigest()
    return ReceivedInstance(
        study_instance_uid=study,
        series_instance_uid=f"{study}.1",
        sop_instance_uid=f"{study}.1.{number}",
        sop_class_uid=CT,
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        modality="CT",
        calling_ae_title="CT1",
        received_at=at,
        digest=digest,
        size_bytes=100,
        path=Path("received") / f"{digest}.dcm",
        expected_instances=expected,
    )


def settle(ledger, at=NOON + timedelta(minutes=5)):
    for study in ledger.open_studies():
        assert ledger.settle(study, why="quiet", now=at)
    return ledger.unrouted_studies()


def route(ledger, study, name="chest-ct", digest="d1"):
    return ledger.record_routing(study, [NewWorkItem(route=name, selection=b"{}", inputs_digest=digest)], now=NOON)


def analysed_and_encoded(ledger, uid="9.1", destinations=("pacs",)):
    item = ledger.claim_work(owner="w", now=NOON, lease_s=60)
    ledger.record_analysis(item, path=Path(f"analyses/{uid}.json"), now=NOON)
    item = ledger.claim_work(owner="w", now=NOON, lease_s=60)
    result = NewResult(
        kind="sr-findings", sop_class_uid="1.2", sop_instance_uid=uid, path=Path(f"results/{uid}"), digest="x", destinations=destinations
    )
    ledger.record_results(item, [result], now=NOON)
    return item


def test_the_same_bytes_sent_twice_are_recorded_once(ledger):
    assert ledger.record_instance(instance(), urgent=False) is Recorded.NEW
    assert ledger.record_instance(instance(), urgent=False) is Recorded.DUPLICATE
    assert ledger.study_rows()[0].instances == 1


def test_other_bytes_under_a_known_uid_are_a_new_version_and_the_newest_is_used(ledger):
    ledger.record_instance(instance(content="old"), urgent=False)
    assert ledger.record_instance(instance(content="new"), urgent=False) is Recorded.NEW_VERSION
    (study,) = settle(ledger)
    assert [i.version for i in study.instances] == [2]
    assert "instance changed" in [e.event for e in ledger.history("1.2.3")]


def test_a_study_that_got_an_instance_meanwhile_does_not_settle(ledger):
    ledger.record_instance(instance(1), urgent=False)
    (seen,) = ledger.open_studies()
    ledger.record_instance(instance(2, at=NOON + timedelta(seconds=1)), urgent=False)
    assert not ledger.settle(seen, why="quiet", now=NOON)


def test_a_late_instance_makes_a_new_revision_with_all_instances(ledger):
    ledger.record_instance(instance(1), urgent=False)
    (first,) = settle(ledger)
    route(ledger, first)
    ledger.record_instance(instance(2, at=NOON + timedelta(hours=1)), urgent=False)
    (second,) = settle(ledger)
    assert (first.revision, len(first.instances)) == (1, 1)
    assert (second.revision, len(second.instances)) == (2, 2)


def test_a_duplicate_after_delivery_reopens_nothing(ledger):
    ledger.record_instance(instance(1), urgent=False)
    settle(ledger)
    ledger.record_instance(instance(1), urgent=False)
    assert ledger.open_studies() == ()


def test_routing_twice_makes_each_work_item_once(ledger):
    ledger.record_instance(instance(), urgent=False)
    (study,) = settle(ledger)
    assert route(ledger, study) == 1
    assert route(ledger, study) == 0
    assert ledger.unrouted_studies() == ()


def test_unchanged_inputs_make_no_second_report(ledger):
    ledger.record_instance(instance(1), urgent=False)
    (study,) = settle(ledger)
    route(ledger, study, digest="same")
    ledger.record_instance(instance(2), urgent=False)
    (study,) = settle(ledger)
    assert route(ledger, study, digest="same") == 0


def test_an_operator_can_have_unchanged_inputs_analysed_again(ledger):
    ledger.record_instance(instance(1), urgent=False)
    (study,) = settle(ledger)
    route(ledger, study, digest="same")
    assert ledger.renew_revision("1.2.3", why="new prompts", now=NOON) == 2
    (study,) = ledger.unrouted_studies()
    assert route(ledger, study, digest="same") == 1


def test_our_own_report_that_comes_back_is_not_an_input(ledger):
    ledger.record_instance(instance(1), urgent=False)
    route(ledger, settle(ledger)[0])
    analysed_and_encoded(ledger, uid="1.2.3.1.7")
    ledger.record_instance(instance(7), urgent=False)
    (study,) = settle(ledger)
    assert [i.sop_instance_uid for i in study.instances] == ["1.2.3.1.1"]


def test_a_newer_revision_supersedes_what_nobody_analysed(ledger):
    ledger.record_instance(instance(1), urgent=False)
    route(ledger, settle(ledger)[0], digest="one")
    ledger.record_instance(instance(2), urgent=False)
    route(ledger, settle(ledger)[0], digest="two")
    assert [item.state for item in ledger.study_rows()[0].work_items] == ["SUPERSEDED", "ROUTED"]


def test_a_revision_waits_for_the_report_of_the_one_before(ledger):
    ledger.record_instance(instance(1), urgent=False)
    route(ledger, settle(ledger)[0], digest="one")
    held = ledger.claim_work(owner="w", now=NOON, lease_s=60)
    ledger.record_instance(instance(2), urgent=False)
    route(ledger, settle(ledger)[0], digest="two")
    assert ledger.claim_work(owner="x", now=NOON, lease_s=60) is None
    ledger.record_analysis(held, path=Path("a"), now=NOON)
    claimed = ledger.claim_work(owner="x", now=NOON, lease_s=60)
    assert (claimed.revision, claimed.state) == (1, WorkItemState.ANALYSED)


def test_an_urgent_study_is_claimed_first(ledger):
    ledger.record_instance(instance(study="1.1"), urgent=False)
    ledger.record_instance(instance(study="1.2", at=NOON + timedelta(seconds=9)), urgent=True)
    for study in settle(ledger):
        route(ledger, study)
    assert ledger.claim_work(owner="w", now=NOON, lease_s=60).study_instance_uid == "1.2"


def test_a_lease_is_held_by_one_worker_and_a_crash_counts_as_an_attempt(ledger):
    ledger.record_instance(instance(), urgent=False)
    route(ledger, settle(ledger)[0])
    first = ledger.claim_work(owner="a", now=NOON, lease_s=60)
    assert ledger.claim_work(owner="b", now=NOON + timedelta(seconds=59), lease_s=60) is None
    second = ledger.claim_work(owner="b", now=NOON + timedelta(seconds=61), lease_s=60)
    assert (first.attempts, second.attempts) == (1, 2)
    with pytest.raises(LeaseLostError):
        ledger.record_analysis(first, path=Path("a"), now=NOON)


def test_leases_of_a_dead_process_can_be_released_at_once(ledger):
    ledger.record_instance(instance(), urgent=False)
    route(ledger, settle(ledger)[0])
    ledger.claim_work(owner="host/1", now=NOON, lease_s=600)
    assert ledger.lease_owners() == ("host/1",)
    assert ledger.release_leases(owner="host/1", now=NOON) == 1
    assert ledger.claim_work(owner="host/2", now=NOON, lease_s=600).attempts == 2


def test_a_work_item_is_delivered_when_the_last_destination_accepted(ledger):
    ledger.record_instance(instance(), urgent=False)
    route(ledger, settle(ledger)[0])
    analysed_and_encoded(ledger, destinations=("pacs", "research"))
    for name, state in (("pacs", "ENCODED"), ("research", "DELIVERED")):
        claimed = ledger.claim_delivery(destination=name, owner="d", now=NOON, lease_s=60)
        receipt = Receipt(destination=name, status="0x0000", accepted=True, warning=False, at=NOON)
        ledger.record_receipt(claimed, receipt, now=NOON)
        ledger.record_receipt(claimed, receipt, now=NOON)
        assert ledger.study_rows()[0].work_items[0].state == state


def test_a_failed_delivery_waits_for_the_operator_and_can_be_requeued(ledger):
    ledger.record_instance(instance(), urgent=False)
    route(ledger, settle(ledger)[0])
    analysed_and_encoded(ledger)
    claimed = ledger.claim_delivery(destination="pacs", owner="d", now=NOON, lease_s=60)
    ledger.record_delivery_failure(claimed, reason="refused", status="0x0122", retry_at=None, now=NOON)
    assert ledger.claim_delivery(destination="pacs", owner="d", now=NOON, lease_s=60) is None
    assert ledger.requeue_failed("1.2.3", now=NOON) == 1
    assert ledger.claim_delivery(destination="pacs", owner="d", now=NOON, lease_s=60).attempts == 1


def test_a_delivery_that_failed_for_now_is_due_again_later(ledger):
    ledger.record_instance(instance(), urgent=False)
    route(ledger, settle(ledger)[0])
    analysed_and_encoded(ledger)
    claimed = ledger.claim_delivery(destination="pacs", owner="d", now=NOON, lease_s=60)
    later = NOON + timedelta(seconds=30)
    ledger.record_delivery_failure(claimed, reason="down", status="", retry_at=later, now=NOON)
    assert ledger.claim_delivery(destination="pacs", owner="d", now=NOON, lease_s=60) is None
    assert ledger.claim_delivery(destination="pacs", owner="d", now=later, lease_s=60).attempts == 2


def test_a_naive_time_is_refused(ledger):
    with pytest.raises(Exception, match="aware"):
        ledger.record_instance(instance(at=datetime(2026, 1, 5)), urgent=False)  # noqa: DTZ001 - the point of the test


@pytest.mark.parametrize(
    ("seconds", "urgent", "expected", "settled"),
    [
        (29, False, None, False),
        (30, False, None, True),
        (5, True, None, True),
        (0, False, 1, True),
        (0, False, 2, False),
    ],
)
def test_a_study_settles_when_quiet_urgent_ones_sooner_and_at_once_when_complete(ledger, seconds, urgent, expected, settled):
    ledger.record_instance(instance(expected=expected), urgent=urgent)
    (study,) = ledger.open_studies()
    why = why_settled(study, SettleSection(quiet_s=30, urgent_quiet_s=5), NOON + timedelta(seconds=seconds))
    assert (why is not None) == settled


def test_a_study_that_never_gets_quiet_settles_after_the_longest_wait(ledger):
    for second in range(0, 100, 10):
        ledger.record_instance(instance(second, at=NOON + timedelta(seconds=second)), urgent=False)
    (study,) = ledger.open_studies()
    assert why_settled(study, SettleSection(quiet_s=30, maximum_wait_s=90), NOON + timedelta(seconds=95)) == "open for 90 s"


def test_the_newest_migration_is_the_one_that_the_ledger_expects():
    scripts = Config()
    scripts.set_main_option("script_location", str(Path(migrations.__file__).parent))
    assert ScriptDirectory.from_config(scripts).get_heads() == [migrations.HEAD]


def test_the_migrations_make_exactly_the_tables_of_the_code(tmp_path):
    Ledger(f"sqlite:///{tmp_path / 'a.sqlite'}").close()
    with create_engine(f"sqlite:///{tmp_path / 'a.sqlite'}").connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables.metadata) == []


def test_a_ledger_of_a_newer_version_is_refused_with_words(tmp_path):
    url = f"sqlite:///{tmp_path / 'a.sqlite'}"
    Ledger(url).close()
    with create_engine(url).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(LedgerError, match="newer"):
        Ledger(url)


def test_only_rows_that_files_bring_back_are_left_to_the_operating_system(ledger):
    full, normal = 2, 1
    with ledger._write_often() as transaction:
        assert transaction.cursor.execute("PRAGMA synchronous").fetchone() == (normal,)
    with pytest.raises(RuntimeError), ledger._write_often():
        raise RuntimeError
    with ledger._write_by_driver() as transaction:
        assert transaction.cursor.execute("PRAGMA synchronous").fetchone() == (full,)
    for _ in range(3):
        with ledger._write() as connection:
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == full, "no connection of the others writes with less"
