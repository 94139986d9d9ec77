"""Companions on the way through the real steps: made for who takes them, with a picture read from the store."""

import json
from datetime import UTC, datetime, timedelta
from typing import get_args

import numpy as np
import pytest
import yaml
from pydicom import dcmread

from config import load
from config.destinations import ResultKind
from dicom_node import steps
from dicom_node.emulator import send_files
from dicom_node.keeping.object_store import ObjectStore
from dicom_node.ledger import Ledger
from dicom_node.node import Node
from dicom_node.pictures import Pictures, pictures_of
from dicom_node.receiving.scp import StorageScp
from inference.findings import ImageRef
from reporting import ENCODERS, STANDING_RECORD
from tests.builders import DX, radiograph, radiograph_file, uid, write_file
from tests.node.running import CALLING

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
TAKEN = ["secondary-capture", "encapsulated-pdf", "hl7-oru", "hl7-order", "fhir-report", "key-objects-of-interest", "gsps-outline"]


@pytest.fixture
def node(tmp_path):
    destinations = [{"kind": "folder", "name": "takes-all", "folder": "out", "results": TAKEN}]
    path = tmp_path / "node.yaml"
    path.write_text(yaml.safe_dump({"destinations": destinations}))
    settings, catalogue = load(path)
    clock = iter(NOON + timedelta(minutes=minute) for minute in range(10_000))
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    store = ObjectStore(tmp_path / "objects")
    yield Node(settings=settings, catalogue=catalogue, ledger=ledger, store=store, clock=lambda: next(clock))
    ledger.close()


def receive(node, tmp_path, instance):
    """Have an instance received over the network, and its study settled and routed."""
    settings = node.settings.receive.model_copy(update={"host": "127.0.0.1", "port": 0, "any_calling_ae_title": True, "reserve_mb": 0})
    scp = StorageScp(ae_title="NODE", settings=settings, store=node.store, recorder=node.ledger, clock=node.clock)
    scp.start()
    try:
        path = write_file(tmp_path / f"{instance.SOPInstanceUID}.dcm", instance)
        (sent,) = send_files([path], host="127.0.0.1", port=scp.port, called="NODE", calling=CALLING)
        assert sent.accepted
    finally:
        scp.stop()
    assert steps.settle(node) == 1
    steps.route(node)


def report_failure(node):
    """Make the results of a study that could not be analysed (no model is needed for that)."""
    item = node.ledger.claim_work(owner="w", now=node.clock(), lease_s=60)
    steps.record_failed_analysis(node, item, "the model ran out of memory")
    steps.encode(node, node.ledger.claim_work(owner="w", now=node.clock(), lease_s=60))
    (row,) = node.ledger.study_rows(item.study_instance_uid)
    return [node.store.absolute(path) for path in row.work_items[-1].results]


def test_every_kind_that_a_destination_takes_is_made_and_no_other(node, tmp_path):
    study = uid()
    receive(node, tmp_path, radiograph(study_uid=study))
    files = report_failure(node)
    classes = sorted(dcmread(path).SOPClassUID.name for path in files if path.suffix == ".dcm")
    assert classes == ["Comprehensive 3D SR Storage", "Encapsulated PDF Storage", "Secondary Capture Image Storage"]
    assert sorted(path.suffix for path in files if path.suffix != ".dcm") == [".hl7", ".json"]
    (message,) = [path.read_bytes() for path in files if path.suffix == ".hl7"]
    assert b"|P|2.5.1|" in message
    assert b"FAILED" in message


def test_the_page_shows_the_image_that_it_is_about(node, tmp_path):
    receive(node, tmp_path, radiograph(study_uid=uid()))
    (page,) = [dcmread(path) for path in report_failure(node) if path.suffix == ".dcm" and dcmread(path).Modality == "OT"]
    corner = page.pixel_array[150:470, 680:1000]  # right of the headline
    assert len(np.unique(corner)) > 50


def test_a_file_that_is_lost_meanwhile_costs_the_picture_and_not_the_page(node, tmp_path):
    receive(node, tmp_path, radiograph(study_uid=uid()))
    for path in node.store.received_files():
        node.store.absolute(path).unlink()
    item = node.ledger.claim_work(owner="w", now=node.clock(), lease_s=60)
    steps.record_failed_analysis(node, item, "the file is gone")
    steps.encode(node, node.ledger.claim_work(owner="w", now=node.clock(), lease_s=60))
    (row,) = node.ledger.study_rows(item.study_instance_uid)
    assert len(row.work_items[-1].results) == 5


def test_a_later_message_takes_back_what_the_earlier_one_said(node, tmp_path):
    study = uid()
    receive(node, tmp_path, radiograph(study_uid=study))
    before = report_failure(node)
    receive(node, tmp_path, radiograph(study_uid=study, number=2))
    after = report_failure(node)
    (earlier,) = [path.read_text() for path in before if path.suffix == ".hl7"]
    (later,) = [path.read_text() for path in after if path.suffix == ".hl7"]
    assert earlier.split("|")[9] in later
    bundles = [json.loads(path.read_bytes()) for path in (*before, *after) if path.suffix == ".json"]
    reports = [entry["request"]["url"] for bundle in bundles for entry in bundle["entry"] if "DiagnosticReport/" in entry["request"]["url"]]
    assert len(reports) == 2
    assert len(set(reports)) == 1


def test_a_picture_is_a_small_copy_of_the_frame(tmp_path):
    path = radiograph_file(tmp_path / "image.dcm", pixels=np.tile(np.arange(2000, dtype=np.uint16), (1500, 1)))
    image = ImageRef(sop_class_uid=DX, sop_instance_uid="1.2.3", frame_number=1)
    (picture,) = pictures_of([image], [("1.2.3", path)], maximum_megapixels=100).plain
    assert (picture.rows, picture.columns) == (1500, 2000)
    assert picture.png.startswith(b"\x89PNG")
    assert len(picture.png) < 200_000


def test_an_image_that_cannot_be_decoded_has_no_picture(tmp_path):
    (tmp_path / "broken.dcm").write_bytes(b"no image")
    image = ImageRef(sop_class_uid=DX, sop_instance_uid="1.2.3")
    assert pictures_of([image], [("1.2.3", tmp_path / "broken.dcm")], maximum_megapixels=100) == Pictures(plain=())
    assert pictures_of([image], [], maximum_megapixels=100) == Pictures(plain=())


def test_a_destination_can_take_every_kind_that_is_made_and_no_other():
    assert set(get_args(ResultKind)) == set(ENCODERS)
    assert STANDING_RECORD in ENCODERS
    assert set(TAKEN) < set(ENCODERS)
