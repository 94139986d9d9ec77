"""The installed command: a study in through a socket, a Structured Report out at a socket."""

import json
import os
import signal

import psutil
import pytest
from pydicom import dcmread

from dicom_node.demo.archive import Archive
from tests.builders import CANARIES, ct_slice, radiograph, radiograph_file, uid, write_file
from tests.node.running import run, running_node
from tests.waiting import eventually


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    with Archive(tmp_path_factory.mktemp("archive")) as archive:
        yield archive


@pytest.fixture(scope="module")
def node(tmp_path_factory, archive):
    with running_node(tmp_path_factory.mktemp("node"), destinations=[("archive", archive.port, "ARCHIVE")]) as node:
        yield node


def reports(archive, study):
    return [report for report in (dcmread(one.path) for one in archive.received()) if report.StudyInstanceUID == study]


def report_on(archive, study, number=1):
    eventually(lambda: len(reports(archive, study)) >= number, f"{number} reports on study {study}", timeout_s=90)
    return reports(archive, study)


def test_a_radiograph_comes_back_as_one_unverified_report(node, archive, tmp_path):
    study = uid()
    (sent,) = node.send(radiograph_file(tmp_path / "a.dcm", study_uid=study))
    assert sent.accepted
    (report,) = report_on(archive, study)
    assert report.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.34"
    assert (report.VerificationFlag, report.PatientID, report.Modality) == ("UNVERIFIED", "CANARY-ID", "SR")
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert [item.ReferencedSOPInstanceUID for item in evidence] == [sent.sop_instance_uid]


def test_a_late_slice_makes_a_new_report_that_names_the_old_one(node, archive, tmp_path):
    study, series = uid(), uid()
    first, second = (write_file(tmp_path / f"{n}.dcm", ct_slice(study_uid=study, series_uid=series, number=n)) for n in (1, 2))
    node.send(first)
    (old,) = report_on(archive, study)
    node.send(second)
    _, new = sorted(report_on(archive, study, number=2), key=lambda report: report.InstanceNumber)
    predecessor = new.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert predecessor.ReferencedSOPInstanceUID == old.SOPInstanceUID
    assert (new.SeriesInstanceUID, new.InstanceNumber) == (old.SeriesInstanceUID, old.InstanceNumber + 1)


def test_a_resend_and_our_own_report_coming_back_make_no_second_report(node, archive, tmp_path):
    study = uid()
    path = radiograph_file(tmp_path / "a.dcm", study_uid=study)
    node.send(path)
    (report,) = report_on(archive, study)
    mine = [one.path for one in archive.received() if dcmread(one.path).SOPInstanceUID == report.SOPInstanceUID]
    assert all(sent.accepted for sent in node.send(path, *mine))
    eventually(lambda: [row.state for row in node.studies() if row.study_instance_uid == study] == ["SETTLED"], "settled again")
    eventually(lambda: len(node.states(study)) == 1, "one work item")
    assert len(reports(archive, study)) == 1


def test_a_study_that_cannot_be_read_is_reported_as_such(node, archive, tmp_path):
    study = uid()
    header = radiograph(study_uid=study)
    header.PixelData = header.PixelData[:100]
    node.send(write_file(tmp_path / "cut.dcm", header))
    (report,) = report_on(archive, study)
    assert report.CompletionFlag == "PARTIAL"


def test_an_operator_can_have_a_study_analysed_again(node, archive, tmp_path):
    study = uid()
    node.send(radiograph_file(tmp_path / "a.dcm", study_uid=study))
    (old,) = report_on(archive, study)
    done = run("requeue", study, "--again", "--why", "new prompts", "--config", node.settings_file, "--json")
    assert json.loads(done.stdout) == {"study_instance_uid": study, "revision": 2}, done.stderr
    _, new = sorted(report_on(archive, study, number=2), key=lambda report: report.InstanceNumber)
    assert (new.SeriesInstanceUID, new.InstanceNumber) == (old.SeriesInstanceUID, old.InstanceNumber + 1)


def test_status_accounts_for_every_instance(node):
    done = run("status", "--all", "--config", node.settings_file)
    assert done.returncode == 0, done.stderr
    assert "accounted for" in done.stdout


def test_the_probe_says_healthy_and_sends_nothing_to_the_archive(node, archive):
    before = len(archive.received())
    done = run("probe", "--config", node.settings_file, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"healthy": true' in done.stdout
    assert len(archive.received()) == before


def test_metrics_and_health_pages_answer(node):
    assert node.page("/healthz")[0] == 200
    status, metrics = node.page("/metrics")
    assert status == 200
    for name in ("dicom_node_instances_received_total", "dicom_node_step_seconds_bucket", 'dicom_node_process_up{name="work"} 1.0'):
        assert name in metrics


def test_an_unknown_sender_is_turned_away(node, tmp_path):
    (sent,) = node.send(radiograph_file(tmp_path / "a.dcm"), calling="STRANGER")
    assert sent.status is None


def test_a_killed_worker_is_restarted_and_the_study_reported_once(node, archive, tmp_path):
    study = uid()
    worker = next(child for child in psutil.Process(node.process.pid).children() if "work" in child.cmdline())
    os.kill(worker.pid, signal.SIGKILL)
    node.send(radiograph_file(tmp_path / "a.dcm", study_uid=study))
    assert len(report_on(archive, study)) == 1


def test_no_log_line_holds_patient_data(node):
    assert node.events("step_done"), "the node has logged its work"
    leaked = [line for line in node.log.splitlines() if any(canary in line for canary in CANARIES)]
    assert leaked == []


def test_a_second_node_on_the_same_folder_is_refused(node):
    done = run("serve", "--config", node.settings_file)
    assert done.returncode == 1
    assert "another node runs" in done.stderr
