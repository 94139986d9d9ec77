"""Retention: what is purged, what never is, and what happens to a purged study that gets another instance."""

import pytest
from pydicom import dcmread

from dicom_node import steps
from dicom_node.keeping.object_store import ObjectStore
from dicom_node.keeping.reconcile import reconcile
from dicom_node.keeping.retention import BackupRunsError, files_stay, purge
from dicom_node.keeping.stocktaking import take_stock
from dicom_node.ledger import RemovedMeanwhileError
from dicom_node.lifecycle import DeliveryState
from reporting import readable_text
from tests.builders import radiograph_file, uid
from tests.node.running import run
from tests.whole_node import whole_node

STUDY = uid("purged study")


class SmallDisk(ObjectStore):
    """A disk on which 8 kB too little are free."""

    def free_bytes(self):
        return 10_000_000 - 8_000


@pytest.fixture
def node(tmp_path):
    with whole_node(tmp_path) as node:
        yield node


def image(tmp_path, number=1, study=STUDY):
    path = tmp_path / f"{study}-{number}.dcm"
    return path if path.exists() else radiograph_file(path, study_uid=study, number=number, SOPInstanceUID=uid("image", study, number))


def reported(node, tmp_path, study=STUDY, numbers=(1, 2)):
    node.receive(*(image(tmp_path, number, study) for number in numbers))
    node.report()


def problems(node):
    return take_stock(node.ledger, node.store, now=node.now).problems


def test_a_delivered_study_is_purged_when_its_days_are_over_and_not_before(node, tmp_path):
    reported(node, tmp_path)
    node.pass_time(days=29)
    assert node.purge().by_age == ()
    node.pass_time(days=2)
    assert [study.study_instance_uid for study in node.purge().by_age] == [STUDY]
    assert node.states() == {STUDY: "PURGED"}
    assert [node.files(folder) for folder in ("received", "analyses", "results")] == [[], [], []]
    assert problems(node) == ()
    assert len(node.reports()) == 1, "what was delivered stays where it was delivered to"


def test_a_dry_run_says_what_would_go_and_removes_nothing(node, tmp_path):
    reported(node, tmp_path)
    node.pass_time(days=31)
    assert [study.instances for study in node.purge(dry_run=True).by_age] == [2]
    assert node.states() == {STUDY: "SETTLED"}
    assert len(node.files("received")) == 2


def test_a_held_study_stays_until_it_is_released(node, tmp_path):
    reported(node, tmp_path)
    node.pass_time(days=400)
    assert node.ledger.hold(STUDY, why="complaint 12", now=node.now)
    assert node.purge().by_age == ()
    assert node.ledger.kept_counts()["held by an operator"] == 1
    assert node.ledger.release(STUDY, why="answered", now=node.now)
    assert len(node.purge().by_age) == 1
    assert [event.event for event in node.ledger.history(STUDY)][-3:] == ["held", "released", "purged"]


def test_a_study_whose_report_waits_for_its_destination_is_never_purged(node, tmp_path):
    (node.folder / "reports").rmdir()
    reported(node, tmp_path)
    node.pass_time(days=400)
    assert node.purge().by_age == ()
    (node.folder / "reports").mkdir()
    node.deliver()
    node.pass_time(days=31)
    assert len(node.purge().by_age) == 1


def test_a_study_that_is_still_arriving_or_in_work_is_never_purged(node, tmp_path):
    node.receive(image(tmp_path))
    node.pass_time(days=400)
    assert node.purge().by_age == ()
    steps.settle(node.node)
    node.pass_time(days=400)
    assert node.purge().by_age == ()
    steps.route(node.node)
    node.pass_time(days=400)
    assert node.purge().by_age == ()


def test_a_report_that_was_sent_nowhere_keeps_its_study(tmp_path):
    with whole_node(tmp_path, destinations=[]) as node:
        reported(node, tmp_path)
        node.pass_time(days=400)
        assert node.purge().by_age == ()
        assert node.ledger.kept_counts()["a report went nowhere"] == 1


def test_where_commitment_is_asked_for_acceptance_is_not_enough(node, tmp_path):
    reported(node, tmp_path)
    node.pass_time(days=400)
    assert node.ledger.purgeable_studies(before=node.now, committing=("reports",), limit=9) == ()
    assert len(node.ledger.purgeable_studies(before=node.now, committing=("another",), limit=9)) == 1
    (row,) = node.ledger.study_rows()
    assert [delivery.state for item in row.work_items for delivery in item.deliveries] == [DeliveryState.ACCEPTED]


def test_short_space_purges_the_oldest_first_and_no_more_than_needed(tmp_path):
    with whole_node(tmp_path, retention={"below_free_mb": 10, "after_days": None}) as node:
        studies = [uid("space", number) for number in range(3)]
        for study in studies:
            reported(node, tmp_path, study, (1,))
            node.pass_time(hours=1)
        node.pass_time(days=2)
        done = purge(node.node.settings, node.ledger, SmallDisk(node.folder / "node" / "objects"), now=node.now)
        assert [study.study_instance_uid for study in done.for_space] == studies[:1]
        assert done.enough_space


def test_short_space_never_takes_a_study_of_today(tmp_path):
    with whole_node(tmp_path, retention={"below_free_mb": 10**9}) as node:
        reported(node, tmp_path)
        done = node.purge()
        assert (done.for_space, done.enough_space) == ((), False)


def test_a_late_instance_of_a_purged_study_makes_a_new_revision_that_says_what_was_purged(node, tmp_path):
    reported(node, tmp_path)
    node.pass_time(days=31)
    node.purge()
    node.receive(image(tmp_path, 3))
    node.report()
    assert node.states() == {STUDY: "SETTLED"}
    (row,) = node.ledger.study_rows()
    assert [(item.revision, item.state) for item in row.work_items] == [(1, "DELIVERED"), (2, "DELIVERED")]
    new = node.store.absolute(row.work_items[1].results[0])
    assert steps.PURGED in readable_text(new.read_bytes())
    first, second = sorted((dcmread(path) for path in node.reports()), key=lambda report: report.InstanceNumber)
    predecessor = second.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert predecessor.ReferencedSOPInstanceUID == first.SOPInstanceUID
    assert (first.InstanceNumber, second.InstanceNumber) == (1, 2)
    node.pass_time(days=31)
    node.purge()
    assert (node.states(), problems(node)) == ({STUDY: "PURGED"}, ())


def test_a_purged_study_that_is_sent_again_as_it_was_makes_no_second_report(node, tmp_path):
    reported(node, tmp_path)
    node.pass_time(days=31)
    node.purge()
    reported(node, tmp_path, numbers=(2,))
    assert len(node.reports()) == 1
    reported(node, tmp_path)
    assert len(node.reports()) == 1
    assert (len(node.files("received")), problems(node)) == (2, ())


def test_a_study_that_was_sent_again_can_be_analysed_again(node, tmp_path):
    reported(node, tmp_path)
    node.pass_time(days=31)
    node.purge()
    reported(node, tmp_path)
    assert node.ledger.renew_revision(STUDY, why="new model", now=node.now)
    node.report()
    (row,) = node.ledger.study_rows()
    assert row.work_items[-1].state == "DELIVERED"
    assert len(node.reports()) == 2


def test_an_instance_that_comes_back_in_the_moment_of_its_purge_is_refused_once(node, tmp_path):
    node.receive(image(tmp_path))
    node.pass_time(minutes=5)
    steps.settle(node.node)
    (study,) = node.ledger.unrouted_studies()
    node.report()
    node.pass_time(days=31)
    node.purge()
    with pytest.raises(RemovedMeanwhileError):
        node.ledger.record_instance(study.instances[0], urgent=False)
    assert node.states() == {STUDY: "PURGED"}
    node.receive(image(tmp_path))
    assert node.states() == {STUDY: "RECEIVING"}


def test_files_of_a_purge_that_was_cut_short_are_removed_by_the_next(node, tmp_path):
    reported(node, tmp_path)
    node.pass_time(days=31)
    node.ledger.record_purge(STUDY, before=node.now, committing=(), predecessors=(), why="age", now=node.now)
    assert len(node.files("received")) == 2
    assert reconcile(node.store, node.ledger, now=node.now).found_again == 0, "they are accounted for"
    assert node.purge().files_removed == 4
    assert (node.files("received"), problems(node)) == ([], ())


def test_nothing_is_purged_while_a_backup_is_made(node, tmp_path):
    reported(node, tmp_path)
    node.pass_time(days=31)
    with files_stay(node.node.settings.node.data_folder), pytest.raises(BackupRunsError):
        node.purge()
    assert node.states() == {STUDY: "SETTLED"}


def test_a_purged_study_is_still_in_the_account(node, tmp_path):
    reported(node, tmp_path)
    node.pass_time(days=31)
    node.purge()
    (row,) = node.ledger.study_rows()
    assert (row.instances, row.work_items[0].analysis_path, row.work_items[0].results) == (2, None, ())
    shown = run("status", "--all", "--config", node.settings_file)
    assert "purged" in shown.stdout
    assert run("hold", STUDY, "--config", node.settings_file).returncode == 0
    assert run("purge", "--dry-run", "--json", "--config", node.settings_file).returncode == 0
