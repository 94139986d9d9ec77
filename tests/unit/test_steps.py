"""The steps on the real ledger and store: what a lost file does, and that a step repeated finds its effect."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import yaml
from pydicom import dcmread

from config import load, model_digest, prompt_set_digest
from config.schema import Settings
from dicom_node import steps
from dicom_node.emulator import send_files
from dicom_node.keeping.object_store import ObjectStore
from dicom_node.ledger import Ledger
from dicom_node.lifecycle import WorkItemState
from dicom_node.node import Node
from dicom_node.receiving.scp import StorageScp
from inference.analysis import decode_analysis
from inference.engine import Engine
from inference.findings import FlagLevel, Outcome, Presence
from reporting import readable_text
from tests.builders import ct_slice, radiograph, uid, write_file
from tests.embedded import FINDINGS, MODEL, chest
from tests.node.running import CALLING

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


@pytest.fixture
def settings_file():
    return None


@pytest.fixture
def node(tmp_path, settings_file):
    settings, catalogue = load(settings_file)
    clock = iter(NOON + timedelta(minutes=minute) for minute in range(10_000))
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    store = ObjectStore(tmp_path / "objects")
    yield Node(settings=settings, catalogue=catalogue, ledger=ledger, store=store, clock=lambda: next(clock))
    ledger.close()


def receive(node, tmp_path, study, instance=None):
    """Have an instance (a CT slice) of `study` received over the network, and its study settled."""
    settings = node.settings.receive.model_copy(update={"host": "127.0.0.1", "port": 0, "any_calling_ae_title": True, "reserve_mb": 0})
    scp = StorageScp(ae_title="NODE", settings=settings, store=node.store, recorder=node.ledger, clock=node.clock)
    scp.start()
    try:
        path = write_file(tmp_path / f"{study}.dcm", instance or ct_slice(study_uid=study))
        (sent,) = send_files([path], host="127.0.0.1", port=scp.port, called="NODE", calling=CALLING)
        assert sent.accepted
    finally:
        scp.stop()
    assert steps.settle(node) == 1


def analyse(node, engine):
    item = node.ledger.claim_work(owner="w", now=node.clock(), lease_s=60)
    if item.state is WorkItemState.ANALYSED:
        steps.encode(node, item)
        item = node.ledger.claim_work(owner="w", now=node.clock(), lease_s=60)
    steps.analyse(node, engine, item)
    (row,) = node.ledger.study_rows(item.study_instance_uid)
    return decode_analysis(node.store.absolute(row.work_items[0].analysis_path).read_bytes())


@pytest.fixture
def engine(node):
    return Engine(node.catalogue, device="cpu", batch_size=4, cache_folder=None)


def test_a_study_whose_file_was_lost_is_reported_and_holds_up_nobody(node, engine, tmp_path):
    lost, whole = uid(), uid()
    receive(node, tmp_path, lost)
    for path in node.store.received_files():
        node.store.absolute(path).unlink()
    receive(node, tmp_path, whole)
    assert steps.route(node) == 2
    analyses = [analyse(node, engine) for _ in range(2)]
    assert {analysis.study_instance_uid: analysis.outcome for analysis in analyses} == {
        lost: Outcome.NOT_ATTEMPTED,
        whole: Outcome.PARTIAL,
    }


def test_a_file_that_is_lost_after_routing_is_an_unreadable_instance(node, engine, tmp_path):
    receive(node, tmp_path, uid())
    assert steps.route(node) == 1
    for path in node.store.received_files():
        node.store.absolute(path).unlink()
    assert analyse(node, engine).outcome is Outcome.FAILED


def test_findings_that_an_earlier_attempt_kept_are_not_computed_again(node, engine, tmp_path):
    receive(node, tmp_path, uid())
    steps.route(node)
    item = node.ledger.claim_work(owner="killed", now=node.clock(), lease_s=1)
    path = steps._analysis_path(item)
    node.store.write_atomic(path, b"kept by an attempt that was killed before it could record this")
    again = node.ledger.claim_work(owner="next", now=node.clock() + timedelta(minutes=1), lease_s=60)
    steps.analyse(node, engine, again)
    (row,) = node.ledger.study_rows(item.study_instance_uid)
    assert row.work_items[0].state == "ANALYSED"
    assert node.store.absolute(row.work_items[0].analysis_path).read_bytes().startswith(b"kept by an attempt")


def test_a_reported_analysis_becomes_a_result_for_each_destination(node, engine, tmp_path):
    receive(node, tmp_path, uid())
    steps.route(node)
    analyse(node, engine)
    item = node.ledger.claim_work(owner="w", now=node.clock(), lease_s=60)
    steps.encode(node, item)
    (row,) = node.ledger.study_rows(item.study_instance_uid)
    assert (row.work_items[0].state, len(row.work_items[0].results)) == ("DELIVERED", 1), "without destinations nothing is left to do"


class TestWithACalibrationOfThisSite:
    """The same model with a (made-up) calibration under which whatever it scores is Present."""

    @pytest.fixture
    def settings_file(self, tmp_path):
        _, catalogue = load(None)
        prompt_set = catalogue.prompt_set(FINDINGS)
        label = {"slope": 1, "intercept": 12, "threshold": 0.5, "undetermined_from": 0.2, "source": "made up for a test"}
        calibration = {
            "id": "made-up",
            "site": "test-site",
            "model": MODEL,
            "model_digest": model_digest(catalogue.manifest(MODEL)),
            "prompt_set": prompt_set.name,
            "prompt_set_digest": prompt_set_digest(prompt_set),
            "labels": {one.name: label for one in prompt_set.labels},
        }
        (tmp_path / "site" / "calibrations").mkdir(parents=True)
        (tmp_path / "site" / "calibrations" / "made-up.yaml").write_text(yaml.safe_dump(calibration))
        path = tmp_path / "node.yaml"
        path.write_text(yaml.safe_dump({"node": {"site": "test-site"}, "models": {"folders": ["site"]}}))
        return path

    def test_a_finding_is_present_and_raises_the_study(self, node, engine, tmp_path):
        study = uid()
        pixels = (chest() * 4095).astype("uint16")
        receive(node, tmp_path, study, radiograph(study_uid=study, pixels=pixels, WindowCenter=2048, WindowWidth=4096))
        steps.route(node)
        analysis = analyse(node, engine)
        assert {finding.presence for finding in analysis.findings} == {Presence.PRESENT}
        assert analysis.flag > FlagLevel.NONE
        steps.encode(node, node.ledger.claim_work(owner="w", now=node.clock(), lease_s=60))
        (row,) = node.ledger.study_rows(study)
        report = node.store.absolute(row.work_items[0].results[0]).read_bytes()
        assert b"calibration=made-up" in report
        words = readable_text(report)
        assert "REVIEW suggested" in words
        assert "UNVERIFIED" in words

    @pytest.mark.parametrize(
        ("explain", "results", "placed"),
        [
            ("present", ["sr-findings", "sr-regions"], True),
            ("flagged", ["sr-findings", "gsps-outline"], True),
            ("present", ["secondary-capture"], True),
            ("off", ["sr-findings", "sr-regions", "secondary-capture"], False),
            ("present", ["sr-findings"], False),
        ],
    )
    def test_places_are_looked_for_only_where_a_destination_shows_them(self, node, engine, tmp_path, *, explain, results, placed):
        study = uid()
        pixels = (chest() * 4095).astype("uint16")
        receive(node, tmp_path, study, radiograph(study_uid=study, pixels=pixels, WindowCenter=2048, WindowWidth=4096))
        steps.route(node)
        analysis = analyse(delivering(node, tmp_path, results, work={"explain": explain}), engine)
        assert any("regions=occlusion" in parameter for parameter in analysis.provenance.parameters) == placed
        assert any(finding.regions for finding in analysis.findings) == placed
        assert len(analysis.heat_maps) == placed

    def test_a_heat_map_outlives_the_process_that_made_it_and_stands_on_the_page(self, node, engine, tmp_path):
        study = uid()
        pixels = (chest() * 4095).astype("uint16")
        receive(node, tmp_path, study, radiograph(study_uid=study, pixels=pixels, WindowCenter=2048, WindowWidth=4096))
        steps.route(node)
        node = delivering(node, tmp_path, ["secondary-capture"])
        item = node.ledger.claim_work(owner="w", now=node.clock(), lease_s=60)
        steps.analyse(node, engine, item)
        node.ledger.close()
        ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
        other = replace(node, ledger=ledger, store=ObjectStore(tmp_path / "objects"))
        steps.encode(other, ledger.claim_work(owner="other", now=node.clock(), lease_s=60))
        (row,) = ledger.study_rows(study)
        (page,) = (found for path in row.work_items[0].results if (found := dcmread(other.store.absolute(path))).Modality == "OT")
        column = page.pixel_array[160:, 708:988].astype(int)  # right of the words
        ledger.close()
        yellow, outline = column[..., :2].sum(axis=-1) - 2 * column[..., 2] > 150, (column == [255, 176, 59]).all(axis=-1)
        assert (yellow & ~outline).sum() > 1000


def delivering(node, folder, results, **sections):
    """The node with a destination that takes these kinds of result."""
    archive = {"kind": "folder", "name": "archive", "folder": str(folder / "archive"), "results": results}
    return replace(node, settings=Settings.model_validate(node.settings.model_dump() | {"destinations": [archive], **sections}))
