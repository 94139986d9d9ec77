"""What every delivery channel promises, asked of each in the registry."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import pytest
from pydicom.uid import Comprehensive3DSRStorage

from config.destinations import (
    CStoreDestination,
    Destination,
    DicomKind,
    FhirDestination,
    FhirKind,
    FolderDestination,
    Hl7Destination,
    Hl7Kind,
    ResultKind,
    SrVariant,
    StowDestination,
)
from dicom_node.delivery import CHANNELS, DeliveryChannel, Outgoing, open_channel
from dicom_node.delivery.variants import SOP_CLASSES
from dicom_node.demo.archive import Archive
from dicom_node.failures import DeliveryError, ResultMissingError, Verdict, judge
from reporting import ENCODERS, VARIANTS
from tests.conformance.sr_documents import PRODUCER, analysis, headers_of
from tests.peers.fhir_server import FhirServer
from tests.peers.reports import outgoing, structured_report
from tests.peers.scripted import unused_port
from tests.peers.scripted_hl7 import hl7_receiver
from tests.peers.scripted_http import Reply, web_service
from tests.peers.test_delivery_stow import module

SR = str(Comprehensive3DSRStorage)
UID = "2.25.1234567890"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A destination, and a result that it takes."""

    destination: Destination
    result: Outgoing


def result_for(kind: str, folder: Path) -> Outgoing:
    """Keep a result that a destination of this kind takes."""
    if kind in {"hl7", "fhir"}:
        name = {"hl7": "hl7-oru", "fhir": "fhir-report"}[kind]
        made = analysis()
        encoded = ENCODERS[name](made, headers_of(made), producer=PRODUCER, previous=None)
        assert encoded is not None
        path = folder / {"hl7": "message.hl7", "fhir": "bundle.json"}[kind]
        path.write_bytes(encoded.data)
        return outgoing(path, "", encoded.sop_instance_uid, kind=name)
    path = folder / "result.dcm"
    path.write_bytes(structured_report(UID))
    return outgoing(path, SR, UID)


@pytest.fixture(params=sorted(CHANNELS))
def working(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
    """A destination of each kind that takes results. A new kind has to be added here."""
    result = result_for(request.param, tmp_path)
    if request.param == "folder":
        (tmp_path / "outbox").mkdir()
        yield Case(destination=FolderDestination(name="there", folder=tmp_path / "outbox"), result=result)
    elif request.param == "stow":
        with web_service(lambda _request: Reply(body=module(UID), media_type="application/dicom+json")) as service:
            yield Case(destination=StowDestination(name="there", url=f"http://127.0.0.1:{service.port}"), result=result)
    elif request.param == "fhir":
        with web_service(FhirServer().answer) as service:
            yield Case(destination=FhirDestination(name="there", url=f"http://127.0.0.1:{service.port}"), result=result)
    elif request.param == "hl7":
        with hl7_receiver("AA") as receiver:
            yield Case(destination=Hl7Destination(name="there", host="127.0.0.1", port=receiver.port), result=result)
    else:
        assert request.param == "c-store"
        with Archive(tmp_path / "archive") as archive:
            to = CStoreDestination(name="there", host=archive.host, port=archive.port, ae_title=archive.ae_title)
            yield Case(destination=to, result=result)


@pytest.fixture(params=sorted(CHANNELS))
def absent(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    """A destination of each kind that is not there."""
    port = unused_port()
    destinations: dict[str, Destination] = {
        "folder": FolderDestination(name="absent", folder=tmp_path / "not-mounted"),
        "stow": StowDestination(name="absent", url=f"http://127.0.0.1:{port}", timeout_s=2),
        "fhir": FhirDestination(name="absent", url=f"http://127.0.0.1:{port}", timeout_s=2),
        "hl7": Hl7Destination(name="absent", host="127.0.0.1", port=port, timeout_s=2),
        "c-store": CStoreDestination(name="absent", host="127.0.0.1", port=port, ae_title="NOBODY", timeout_s=2),
    }
    return Case(destination=destinations[request.param], result=result_for(request.param, tmp_path))


def open_at_noon(destination: Destination) -> DeliveryChannel:
    return open_channel(destination, calling_ae_title="DICOM-NODE", clock=lambda: NOW)


def test_every_kind_of_destination_in_the_settings_has_a_channel() -> None:
    kinds = {member.model_fields["kind"].default for member in get_args(get_args(Destination)[0])}
    assert kinds == set(CHANNELS)


def test_the_kinds_of_results_in_the_settings_are_those_that_can_be_encoded() -> None:
    assert set(get_args(ResultKind)) == set(ENCODERS)
    assert {*get_args(DicomKind), *get_args(Hl7Kind), *get_args(FhirKind)} == set(ENCODERS)


def test_the_variants_in_the_settings_are_those_that_a_report_can_be_had_in() -> None:
    assert tuple(SOP_CLASSES[name] for name in get_args(SrVariant)) == VARIANTS


def test_a_delivered_result_has_a_receipt_with_the_status_and_the_time(working: Case) -> None:
    receipt = open_at_noon(working.destination).deliver(working.result)
    assert receipt.accepted
    assert not receipt.warning
    assert receipt.status
    assert (receipt.destination, receipt.at) == ("there", NOW)


def test_delivering_again_is_harmless(working: Case) -> None:
    channel = open_at_noon(working.destination)
    assert all(channel.deliver(working.result).accepted for _ in range(2))


def test_a_destination_that_is_well_answers_a_probe(working: Case) -> None:
    assert open_at_noon(working.destination).probe()


def test_a_missing_file_is_named_and_tried_again(working: Case, tmp_path: Path) -> None:
    gone = replace(working.result, path=tmp_path / f"gone{working.result.path.suffix}")
    with pytest.raises(ResultMissingError, match=working.result.sop_instance_uid) as info:
        open_at_noon(working.destination).deliver(gone)
    assert judge(info.value) is Verdict.RETRY


def test_an_absent_destination_is_no_error_before_the_first_delivery_and_then_tried_again(absent: Case) -> None:
    channel = open_at_noon(absent.destination)
    for ask in (lambda: channel.deliver(absent.result), channel.probe):
        with pytest.raises(DeliveryError, match="absent") as info:
            ask()
        assert judge(info.value) is Verdict.RETRY
