"""Reports to a FHIR R4 server: one that judges what it gets, and some that misbehave."""

import json
from pathlib import Path

import pytest

from config.destinations import FhirDestination
from dicom_node import failures
from dicom_node.delivery import DeliveryChannel, Outgoing, open_channel
from reporting import ENCODERS
from tests.conformance.sr_documents import PRODUCER, analysis, headers_of
from tests.peers.fhir_server import MEDIA_TYPE, FhirServer, outcome
from tests.peers.reports import outgoing
from tests.peers.scripted import unused_port
from tests.peers.scripted_http import Reply, web_service


@pytest.fixture
def bundle(tmp_path: Path) -> Outgoing:
    made = analysis()
    encoded = ENCODERS["fhir-report"](made, headers_of(made), producer=PRODUCER, previous=None)
    assert encoded is not None
    path = tmp_path / "report.json"
    path.write_bytes(encoded.data)
    return outgoing(path, "", encoded.sop_instance_uid, kind="fhir-report")


def channel_to(port: int, *, timeout_s: float = 5) -> DeliveryChannel:
    destination = FhirDestination(name="ehr", url=f"http://127.0.0.1:{port}/fhir", timeout_s=timeout_s)
    return open_channel(destination, calling_ae_title="NODE")


def test_a_server_that_judges_each_resource_takes_the_report(bundle: Outgoing) -> None:
    server = FhirServer()
    with web_service(server.answer) as service:
        channel = channel_to(service.port)
        assert channel.probe() == "CapabilityStatement, FHIR 4.0.1"
        receipt = channel.deliver(bundle)
    assert (receipt.destination, receipt.status, receipt.accepted) == ("ehr", "200", True)
    assert service.requests[-1].path == "/fhir"
    assert service.requests[-1].body == bundle.path.read_bytes()
    (report,) = [found for found in server.resources.values() if found["resourceType"] == "DiagnosticReport"]
    assert report["status"] == "preliminary"


def test_sending_again_after_a_crash_makes_nothing_twice(bundle: Outgoing) -> None:
    server = FhirServer()
    with web_service(server.answer) as service:
        channel = channel_to(service.port)
        channel.deliver(bundle)
        known = dict(server.resources)
        assert channel.deliver(bundle).status == "200"
    assert server.transactions == 2
    assert server.resources == known


def test_a_transaction_that_would_make_something_twice_never_leaves_the_node(bundle: Outgoing) -> None:
    content = json.loads(bundle.path.read_bytes())
    content["entry"][0]["request"] = {"method": "POST", "url": "Device"}
    server = FhirServer()
    with web_service(server.answer) as service:
        for wrong in (json.dumps(content), "{}", "not JSON", '{"resourceType": "Bundle", "type": "transaction", "entry": []}'):
            bundle.path.write_text(wrong)
            with pytest.raises(failures.ResultUnsuitableError):
                channel_to(service.port).deliver(bundle)
    assert not service.requests


@pytest.mark.parametrize(
    ("reply", "error", "kept"),
    [
        (outcome(400, "structure"), failures.StoreRefusedError, "400 structure"),
        (outcome(401, "login"), failures.NotAuthorisedError, "401 login"),
        (outcome(403, "forbidden"), failures.NotAuthorisedError, "403 forbidden"),
        (outcome(404, "not-found"), failures.StoreFailedError, "404 not-found"),
        (outcome(409, "conflict"), failures.StoreRefusedError, "409 conflict"),
        (outcome(409, "lock-error"), failures.StoreFailedError, "409 lock-error"),
        (outcome(412, "multiple-matches"), failures.StoreRefusedError, "412 multiple-matches"),
        (outcome(422, "invalid", "required", "invalid"), failures.StoreRefusedError, "422 invalid required"),
        (outcome(422, "CANARY^PHI is no code"), failures.StoreRefusedError, "422 ?"),
        (outcome(500, "exception"), failures.StoreFailedError, "500 exception"),
        (outcome(503, "transient"), failures.StoreFailedError, "503 transient"),
        (Reply(status=502, media_type="text/html", body=b"<html>Bad Gateway</html>"), failures.StoreFailedError, "502"),
        (Reply(status=200, media_type="text/html", body=b"<html>Welcome</html>"), failures.EmptyAnswerError, "200"),
        (Reply(status=200, media_type=MEDIA_TYPE, body=b'{"resourceType": "Bundle", "entry": []}'), failures.EmptyAnswerError, "200"),
        (Reply(status=201, media_type=MEDIA_TYPE, body=b"{}"), failures.StoreRefusedError, "201"),
    ],
)
def test_what_is_not_stored_is_not_delivered_and_the_answer_kept(
    bundle: Outgoing, reply: Reply, error: type[failures.DeliveryError], kept: str
) -> None:
    with web_service(lambda _request: reply) as service, pytest.raises(error) as info:
        channel_to(service.port).deliver(bundle)
    assert type(info.value) is error
    assert info.value.status == kept


def test_one_entry_that_failed_is_not_success(bundle: Outgoing) -> None:
    number = len(json.loads(bundle.path.read_bytes())["entry"])
    entries = [{"response": {"status": "201 Created"}} for _ in range(number - 1)] + [{"response": {"status": "422 Unprocessable"}}]
    body = json.dumps({"resourceType": "Bundle", "type": "batch-response", "entry": entries}).encode()
    with (
        web_service(lambda _request: Reply(media_type=MEDIA_TYPE, body=body)) as service,
        pytest.raises(failures.StoreRefusedError) as info,
    ):
        channel_to(service.port).deliver(bundle)
    assert info.value.status == "422"


def test_silence_is_an_empty_answer(bundle: Outgoing) -> None:
    with web_service(lambda _request: Reply(silence_s=10)) as service, pytest.raises(failures.EmptyAnswerError):
        channel_to(service.port, timeout_s=0.3).deliver(bundle)


def test_nobody_at_the_port_is_unreachable(bundle: Outgoing) -> None:
    with pytest.raises(failures.DestinationUnreachableError, match="ehr is not reachable"):
        channel_to(unused_port()).deliver(bundle)


def test_the_words_of_an_outcome_are_not_kept(bundle: Outgoing) -> None:
    with web_service(lambda _request: outcome(422, "invalid")) as service, pytest.raises(failures.StoreRefusedError) as info:
        channel_to(service.port).deliver(bundle)
    assert "CANARY" not in str(info.value) + info.value.status


def test_a_web_page_is_no_fhir_server() -> None:
    with (
        web_service(lambda _request: Reply(media_type="text/html", body=b"<html/>")) as service,
        pytest.raises(failures.StoreFailedError, match="not as a FHIR server; correct url"),
    ):
        channel_to(service.port).probe()
