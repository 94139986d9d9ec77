"""What follows a report that does not stand any more: revisions, patient merges, reruns, and results that are taken back."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from pydicom import dcmread

from config import load
from dicom_node import steps
from dicom_node.delivery import Receipt
from dicom_node.keeping.object_store import ObjectStore, received_path
from dicom_node.ledger import Ledger
from dicom_node.node import Node
from dicom_node.study import ReceivedInstance
from dicom_node.withdrawal import NotWithdrawnError, withdraw
from inference.analysis import decode_analysis, encode_analysis
from inference.findings import Outcome, Region
from reporting import readable_text
from tests.builders import radiograph, uid, write_file
from tests.conformance.sr_documents import POSITIVE

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


@pytest.fixture
def node(tmp_path):
    path = tmp_path / "node.yaml"
    folders = [
        {"kind": "folder", "name": "archive", "folder": "archive", "results": ["sr-findings", "sr-regions"]},
        {"kind": "folder", "name": "research", "folder": "research"},
        {"kind": "folder", "name": "ris", "folder": "ris", "results": ["hl7-oru"]},
    ]
    path.write_text(yaml.safe_dump({"destinations": folders}))
    settings, catalogue = load(path)
    clock = iter(NOON + timedelta(minutes=minute) for minute in range(10_000))
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    yield Node(settings=settings, catalogue=catalogue, ledger=ledger, store=ObjectStore(tmp_path / "objects"), clock=lambda: next(clock))
    ledger.close()


def arrive(node, tmp_path, study, *, sop, **changes):
    """Have a radiograph of a study in the store and in the ledger, as the receiver leaves it, and the study settled."""
    made = radiograph(study_uid=study, **changes)
    made.SOPInstanceUID, made.SeriesInstanceUID = sop, "1.2.3"
    data = write_file(tmp_path / "arriving.dcm", made).read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    path = node.store.write_atomic(received_path(study_instance_uid=study, sop_instance_uid=sop, digest=digest), data)
    fields = {
        "study_instance_uid": study,
        "series_instance_uid": str(made.SeriesInstanceUID),
        "sop_instance_uid": sop,
        "sop_class_uid": str(made.SOPClassUID),
        "transfer_syntax_uid": "1.2.840.10008.1.2.1",
        "modality": str(made.Modality),
        "calling_ae_title": "XRAY",
        "received_at": node.clock(),
        "digest": digest,
        "size_bytes": len(data),
        "path": path,
        "expected_instances": None,
    }
    node.ledger.record_instance(
        ReceivedInstance(**{name: fields[name] for name in ReceivedInstance.__dataclass_fields__ if name in fields}), urgent=False
    )
    for settled in node.ledger.open_studies():
        assert node.ledger.settle(settled, why="quiet", now=node.clock())


def report(node):
    """Take every work item that is due to its results, with a positive analysis in place of a model's."""
    steps.route(node)
    while item := node.ledger.claim_work(owner="w", now=node.clock(), lease_s=60):
        if item.state == "ROUTED":
            node.ledger.record_analysis(item, path=found(node, item), now=node.clock())
        else:
            steps.encode(node, item)


def found(node, item) -> Path:
    """Make a positive analysis of a work item durable, with a region, and return where it lies."""
    (file, *_) = steps.decode_selection(item.selection).files
    image = replace(POSITIVE.inputs[0], sop_class_uid=file.sop_class_uid, sop_instance_uid=file.sop_instance_uid)
    region = Region.box(image, left=1, top=1, right=5, bottom=5)
    finding = replace(POSITIVE.findings[0], image=image, regions=(region,))
    made = replace(
        POSITIVE,
        study_instance_uid=item.study_instance_uid,
        revision=item.revision,
        route=item.route,
        inputs=(image,),
        findings=(finding,),
        quality=(),
    )
    return node.store.write_atomic(Path(f"analyses/{item.id}.json"), encode_analysis(made))


def results(node, study, kind="SR"):
    """The results of the newest work item: reports by series description, and who gets each."""
    (row,) = node.ledger.study_rows(study)
    newest = max(row.work_items, key=lambda item: item.revision)
    files = [node.store.absolute(path) for path in newest.results]
    documents = [dcmread(path) for path in files if path.suffix == ".dcm"]
    messages = [path.read_bytes() for path in files if path.suffix == ".hl7"]
    return {document.SeriesDescription: document for document in documents}, messages


def deliveries(node, study):
    (row,) = node.ledger.study_rows(study)
    return {(item.revision, delivery.destination): delivery.state for item in row.work_items for delivery in item.deliveries}


def take_everything(node):
    """Have every destination take what is due for it."""
    for destination in ("archive", "research", "ris"):
        learnt = NOON - timedelta(days=1)
        while claimed := node.ledger.claim_delivery(destination=destination, owner="d", now=node.clock(), lease_s=60, learnt_since=learnt):
            node.ledger.record_receipt(
                claimed, Receipt(destination=destination, accepted=True, status="0x0000", at=node.clock(), warning=False), now=node.clock()
            )


FINDINGS, REGIONS = "AI TRIAGE - UNVERIFIED - RESEARCH", "AI TRIAGE REGIONS - UNVERIFIED - RESEARCH"


@pytest.fixture
def reported(node, tmp_path):
    """A study that was reported to everybody."""
    study = uid()
    arrive(node, tmp_path, study, sop="1.2.3.1", PatientID="CANARY-ID")
    report(node)
    take_everything(node)
    return study


def predecessor(document):
    return document.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID


def test_only_kinds_that_somebody_takes_are_made_and_each_goes_to_its_takers(node, reported):
    documents, messages = results(node, reported)
    assert (set(documents), len(messages)) == ({FINDINGS, REGIONS}, 1)
    assert set(deliveries(node, reported)) == {(1, "archive"), (1, "research"), (1, "ris")}


def test_a_late_image_makes_the_next_document_of_the_same_series(node, tmp_path, reported):
    before, _ = results(node, reported)
    arrive(node, tmp_path, reported, sop="1.2.3.2", PatientID="CANARY-ID")
    report(node)
    after, _ = results(node, reported)
    for description in (FINDINGS, REGIONS):
        assert predecessor(after[description]) == before[description].SOPInstanceUID
        assert (after[description].SeriesInstanceUID, after[description].InstanceNumber) == (before[description].SeriesInstanceUID, 2)


def test_a_patient_merge_makes_a_document_of_the_other_patient_that_names_the_old_one(node, tmp_path, reported):
    before, _ = results(node, reported)
    arrive(node, tmp_path, reported, sop="1.2.3.1", PatientID="CANARY-ID-MERGED")
    report(node)
    after, _ = results(node, reported)
    assert (before[FINDINGS].PatientID, after[FINDINGS].PatientID) == ("CANARY-ID", "CANARY-ID-MERGED")
    assert predecessor(after[FINDINGS]) == before[FINDINGS].SOPInstanceUID
    assert after[FINDINGS].SeriesInstanceUID == before[FINDINGS].SeriesInstanceUID


def test_a_rerun_under_one_route_analyses_the_same_images_again(node, reported):
    before, _ = results(node, reported)
    (row,) = node.ledger.study_rows(reported)
    route = row.work_items[0].route
    assert node.ledger.renew_revision(reported, why="new prompts", now=node.clock(), route=route) == 2
    report(node)
    after, _ = results(node, reported)
    assert predecessor(after[FINDINGS]) == before[FINDINGS].SOPInstanceUID


def test_a_rerun_under_another_route_leaves_this_one_as_it_is(node, reported):
    node.ledger.renew_revision(reported, why="new prompts", now=node.clock(), route="another")
    report(node)
    (row,) = node.ledger.study_rows(reported)
    assert [item.revision for item in row.work_items] == [1]


def test_a_withdrawal_says_so_to_everybody_who_got_a_result(node, reported):
    before, messages_before = results(node, reported)
    routes = withdraw(node, reported, why="images of another patient", who="an operator")
    report(node)
    after, messages = results(node, reported)
    assert len(routes) == 1
    assert set(after) == {FINDINGS, REGIONS}
    for description in (FINDINGS, REGIONS):
        assert predecessor(after[description]) == before[description].SOPInstanceUID
        assert after[description].PatientID == "CANARY-ID"
    words = readable_text(node.store.absolute(results_path(node, reported, FINDINGS)).read_bytes())
    assert "WITHDRAWN" in words
    assert "images of another patient" in words
    assert messages != messages_before
    assert {destination for revision, destination in deliveries(node, reported) if revision == 2} == {"archive", "research", "ris"}


def results_path(node, study, description):
    (row,) = node.ledger.study_rows(study)
    newest = max(row.work_items, key=lambda item: item.revision)
    reports = [path for path in newest.results if path.suffix == ".dcm"]
    return next(path for path in reports if dcmread(node.store.absolute(path)).SeriesDescription == description)


def test_a_withdrawal_holds_no_answer(node, reported):
    withdraw(node, reported, why="images of another patient", who="an operator")
    (row,) = node.ledger.study_rows(reported)
    newest = max(row.work_items, key=lambda item: item.revision)
    analysis = decode_analysis(node.store.absolute(newest.analysis_path).read_bytes())
    assert (analysis.findings, analysis.quality, analysis.outcome) == ((), (), Outcome.NOT_ATTEMPTED)


def test_withdrawing_twice_changes_nothing(node, reported):
    withdraw(node, reported, why="a reason", who="an operator")
    assert withdraw(node, reported, why="a reason", who="an operator") == ()
    report(node)
    assert withdraw(node, reported, why="another reason", who="somebody else") == ()
    (row,) = node.ledger.study_rows(reported)
    assert [item.revision for item in row.work_items] == [1, 2]


def test_who_withdrew_and_why_stands_in_the_history(node, reported):
    withdraw(node, reported, why="a reason", who="an operator")
    assert [event.detail for event in node.ledger.history(reported) if event.event == "withdrawn"] == ["by an operator: a reason"]


def test_what_was_not_sent_yet_is_not_sent_any_more_and_needs_no_withdrawal_there(node, tmp_path):
    study = uid()
    arrive(node, tmp_path, study, sop="1.2.3.1", PatientID="CANARY-ID")
    report(node)
    withdraw(node, study, why="a reason", who="an operator")
    report(node)
    assert deliveries(node, study) == {(1, "archive"): "DROPPED", (1, "research"): "DROPPED", (1, "ris"): "DROPPED"}
    (row,) = node.ledger.study_rows(study)
    assert [item.state for item in row.work_items] == ["DELIVERED", "DELIVERED"]


def test_a_destination_that_was_tried_and_did_not_answer_is_told(node, tmp_path):
    study = uid()
    arrive(node, tmp_path, study, sop="1.2.3.1", PatientID="CANARY-ID")
    report(node)
    learnt = NOON - timedelta(days=1)
    claimed = node.ledger.claim_delivery(destination="research", owner="d", now=node.clock(), lease_s=60, learnt_since=learnt)
    later = node.clock() + timedelta(hours=1)
    node.ledger.record_delivery_failure(claimed, reason="no answer", status="", retry_at=later, now=node.clock())
    withdraw(node, study, why="a reason", who="an operator")
    report(node)
    assert {destination for revision, destination in deliveries(node, study) if revision == 2} == {"research"}


def test_new_images_after_a_withdrawal_are_reported_as_usual(node, tmp_path, reported):
    withdraw(node, reported, why="a reason", who="an operator")
    report(node)
    arrive(node, tmp_path, reported, sop="1.2.3.2", PatientID="CANARY-ID")
    report(node)
    after, _ = results(node, reported)
    assert after[FINDINGS].InstanceNumber == 3
    assert after[FINDINGS].CompletionFlag == "COMPLETE"


def test_the_same_images_sent_again_after_a_withdrawal_do_not_bring_the_result_back(node, tmp_path, reported):
    withdraw(node, reported, why="a reason", who="an operator")
    report(node)
    arrive(node, tmp_path, reported, sop="1.2.3.1", PatientID="CANARY-ID")
    report(node)
    (row,) = node.ledger.study_rows(reported)
    assert max(item.revision for item in row.work_items) == 2


def test_what_was_withdrawn_under_an_earlier_configuration_is_withdrawn_where_it_went(node, reported):
    elsewhere = replace(node, settings=node.settings.model_copy(update={"destinations": ()}))
    withdraw(elsewhere, reported, why="a reason", who="an operator")
    report(elsewhere)
    assert {destination for revision, destination in deliveries(node, reported) if revision == 2} == {"archive", "research", "ris"}


def test_a_study_that_never_arrived_cannot_be_withdrawn(node):
    with pytest.raises(NotWithdrawnError, match="never arrived"):
        withdraw(node, uid(), why="a reason", who="an operator")


def test_a_study_about_which_nothing_was_said_has_nothing_to_withdraw(node, tmp_path):
    study = uid()
    arrive(node, tmp_path, study, sop="1.2.3.1")
    steps.route(node)
    assert withdraw(node, study, why="a reason", who="an operator") == ()


def test_a_study_whose_images_were_purged_cannot_be_withdrawn_and_the_message_says_what_to_do(node, reported):
    for path in node.store.received_files():
        node.store.absolute(path).unlink()
    with pytest.raises(NotWithdrawnError, match="send the study again"):
        withdraw(node, reported, why="a reason", who="an operator")
