"""Results by STOW-RS: to Orthanc, and to services that misbehave."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from email import message_from_bytes
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import BasicTextSRStorage, Comprehensive3DSRStorage, ComprehensiveSRStorage, EnhancedSRStorage

from config.destinations import StowDestination
from config.tls import ListenerTlsSection, TlsSection
from dicom_node import failures
from dicom_node.delivery import DeliveryChannel, Outgoing, open_channel
from dicom_node.tls.contexts import server_context
from tests.certificates import Authority
from tests.conformance.sr_documents import analysis, encode
from tests.peers.orthanc import DICOMWEB_PLUGIN, OrthancPeer, find_orthanc
from tests.peers.reports import outgoing, structured_report
from tests.peers.scripted import silent_listener, unused_port
from tests.peers.scripted_http import Reply, Request, Service, web_service

SR = str(Comprehensive3DSRStorage)
UID = "2.25.1234567890"


@pytest.fixture
def report(tmp_path: Path) -> Outgoing:
    path = tmp_path / "result.dcm"
    path.write_bytes(structured_report(UID))
    return outgoing(path, SR, UID)


@pytest.fixture
def varied(tmp_path: Path) -> Outgoing:
    """A report of ours, which can be had in other SOP classes too."""
    made = encode(analysis())
    path = tmp_path / "ours.dcm"
    path.write_bytes(made.data)
    return outgoing(path, made.sop_class_uid, made.sop_instance_uid)


def channel_to(port: int, *, timeout_s: float = 5, **settings: object) -> DeliveryChannel:
    url = f"http{'s' if 'tls' in settings else ''}://127.0.0.1:{port}/dicom-web"
    return open_channel(StowDestination(name="web", url=url, timeout_s=timeout_s, **settings), calling_ae_title="NODE")


def posted(request: Request) -> bytes:
    """The one Part 10 file in a request, taken apart by the standard library's reader of multipart messages."""
    message = message_from_bytes(f"Content-Type: {request.headers['Content-Type']}\r\n\r\n".encode() + request.body)
    assert message.get_content_type() == "multipart/related"
    assert message.get_param("type") == "application/dicom"
    (part,) = message.get_payload()
    assert part.get_content_type() == "application/dicom"
    content = part.get_payload(decode=True)
    start = request.body.index(content[:132])
    return request.body[start : request.body.rindex(b"\r\n--")]


def module(uid: str, *, warning: int | None = None, failure: int | None = None) -> bytes:
    """The Store Instances Response Module as DICOM JSON."""
    item: dict[str, object] = {"00081155": {"vr": "UI", "Value": [uid]}}
    if warning is not None:
        item["00081196"] = {"vr": "US", "Value": [warning]}
    if failure is not None:
        item["00081197"] = {"vr": "US", "Value": [failure]}
    return json.dumps({"00081199" if failure is None else "00081198": {"vr": "SQ", "Value": [item]}}).encode()


def as_xml(uid: str, *, failure: int) -> bytes:
    """The same as Native DICOM Model (PS3.19 A.1)."""
    return f"""<?xml version="1.0"?><NativeDicomModel xmlns="http://dicom.nema.org/PS3.19/models/NativeDICOM">
    <DicomAttribute tag="00081198" vr="SQ" keyword="FailedSOPSequence"><Item number="1">
    <DicomAttribute tag="00081155" vr="UI" keyword="ReferencedSOPInstanceUID"><Value number="1">{uid}</Value></DicomAttribute>
    <DicomAttribute tag="00081197" vr="US" keyword="FailureReason"><Value number="1">{failure}</Value></DicomAttribute>
    </Item></DicomAttribute></NativeDicomModel>""".encode()


def always(
    *, status: int = 200, body: bytes = b"", media_type: str = "application/dicom+json", **rest: float
) -> Callable[[Request], Reply]:
    return lambda _request: Reply(status=status, body=body, media_type=media_type, **rest)


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrthancPeer]:
    if find_orthanc() is None or not DICOMWEB_PLUGIN.exists():
        pytest.skip("Orthanc and its DICOMweb plugin are not installed (apt-get install orthanc orthanc-dicomweb)")
    with OrthancPeer(tmp_path_factory.mktemp("orthanc"), dicomweb=True) as peer:
        yield peer


def test_orthanc_holds_what_was_sent_and_answers_for_it(orthanc: OrthancPeer, report: Outgoing) -> None:
    channel = open_channel(StowDestination(name="web", url=orthanc.dicomweb_url), calling_ae_title="NODE")
    assert channel.probe() == "GET 200"
    receipts = [channel.deliver(report) for _ in range(2)]
    assert [(receipt.status, receipt.accepted, receipt.warning) for receipt in receipts] == [("200", True, False)] * 2
    assert orthanc.tags(UID)["ContentSequence"][0]["TextValue"] == "Nothing was analysed."
    assert orthanc.count_instances() == 1


def test_a_wrong_address_at_orthanc_is_named_and_tried_again(orthanc: OrthancPeer, report: Outgoing) -> None:
    channel = open_channel(StowDestination(name="web", url=orthanc.dicomweb_url + "-wrong"), calling_ae_title="NODE")
    for ask in (lambda: channel.deliver(report), channel.probe):
        with pytest.raises(failures.StoreFailedError, match=r"web answered 404 .* correct url") as info:
            ask()
        assert failures.judge(info.value) is failures.Verdict.RETRY


def test_the_file_is_sent_as_it_lies_in_the_store(report: Outgoing) -> None:
    with web_service(always(body=module(UID))) as service:
        assert channel_to(service.port).deliver(report).status == "200"
    (request,) = service.requests
    assert (request.method, request.path) == ("POST", "/dicom-web/studies")
    assert posted(request) == report.path.read_bytes()
    assert "Authorization" not in request.headers


@pytest.mark.parametrize(
    ("status", "body", "kept", "warning"),
    [
        (200, module(UID), "200", False),
        (202, module(UID, warning=0xB000), "202 0xB000", True),
        (202, module(UID, warning=0xB007), "202 0xB007", True),
        (409, module(UID, failure=0x0111), "409 0x0111", True),
    ],
)
def test_what_is_stored_is_accepted_with_the_status_as_it_came(
    report: Outgoing, status: int, body: bytes, kept: str, *, warning: bool
) -> None:
    with web_service(always(status=status, body=body)) as service:
        receipt = channel_to(service.port).deliver(report)
    assert (receipt.status, receipt.accepted, receipt.warning) == (kept, True, warning)


@pytest.mark.parametrize(
    ("status", "body", "media_type", "error", "kept"),
    [
        (409, module(UID, failure=0xA700), "application/dicom+json", failures.StoreFailedError, "409 0xA700"),
        (409, module(UID, failure=0xA900), "application/dicom+json", failures.StoreRefusedError, "409 0xA900"),
        (409, module(UID, failure=0xC000), "application/json", failures.StoreRefusedError, "409 0xC000"),
        (409, as_xml(UID, failure=0x0110), "application/dicom+xml", failures.StoreFailedError, "409 0x0110"),
        (202, module(UID, failure=0x0124), "application/dicom+json", failures.StoreFailedError, "202 0x0124"),
        (200, module("2.25.9"), "application/dicom+json", failures.EmptyAnswerError, "200"),
        (200, b"", "application/dicom+json", failures.EmptyAnswerError, "200"),
        (200, b"<html>OK</html>", "text/html", failures.EmptyAnswerError, "200"),
        (200, b"[[[[", "application/dicom+json", failures.EmptyAnswerError, "200"),
        (302, b"", "text/html", failures.StoreRefusedError, "302"),
        (400, b"CANARY^PHI", "text/plain", failures.StoreRefusedError, "400"),
        (401, b"", "text/html", failures.NotAuthorisedError, "401"),
        (403, b"", "text/html", failures.NotAuthorisedError, "403"),
        (404, b"", "text/html", failures.StoreFailedError, "404"),
        (413, b"", "text/html", failures.StoreRefusedError, "413"),
        (415, b"", "text/html", failures.StoreRefusedError, "415"),
        (429, b"", "text/html", failures.StoreFailedError, "429"),
        (500, b"", "text/html", failures.StoreFailedError, "500"),
        (503, b"", "text/html", failures.StoreFailedError, "503"),
    ],
)
def test_what_is_not_stored_is_not_delivered_and_the_answer_kept(  # noqa: PLR0917 - the columns of the table above
    report: Outgoing, status: int, body: bytes, media_type: str, error: type[failures.DeliveryError], kept: str
) -> None:
    with web_service(always(status=status, body=body, media_type=media_type)) as service, pytest.raises(error) as info:
        channel_to(service.port).deliver(report)
    assert type(info.value) is error
    assert info.value.status == kept
    assert "CANARY" not in str(info.value)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(silence_s=10),
        Reply(body=module(UID), drip_s=0.05),
        Reply(body=module(UID), cut=True),
        Reply(body=b"x" * (17 * 1024 * 1024)),
    ],
    ids=["silence", "a drop at a time", "cut in the middle", "without end"],
)
def test_without_a_whole_answer_a_result_is_sent_again(report: Outgoing, reply: Reply) -> None:
    started = time.monotonic()
    with web_service(lambda _request: reply) as service, pytest.raises(failures.EmptyAnswerError, match="web gave"):
        channel_to(service.port, timeout_s=1).deliver(report)
    assert time.monotonic() - started < 5


def test_no_web_service_at_all(report: Outgoing) -> None:
    with pytest.raises(failures.DestinationUnreachableError, match="web is not reachable"):
        channel_to(unused_port()).deliver(report)
    with silent_listener() as port, pytest.raises(failures.EmptyAnswerError):
        channel_to(port, timeout_s=0.3).deliver(report)


def refusing(*sop_class_uids: str) -> Callable[[Request], Reply]:
    """A service that does not support some SOP classes."""

    def answer(request: Request) -> Reply:
        instance = dcmread(BytesIO(posted(request)))
        failed = instance.SOPClassUID in sop_class_uids
        body = module(instance.SOPInstanceUID, failure=0x0122 if failed else None)
        return Reply(status=409 if failed else 200, body=body, media_type="application/dicom+json")

    return answer


@pytest.mark.parametrize(
    ("refused", "accepted"),
    [
        ((), Comprehensive3DSRStorage),
        ((Comprehensive3DSRStorage,), ComprehensiveSRStorage),
        ((Comprehensive3DSRStorage, ComprehensiveSRStorage), EnhancedSRStorage),
        ((Comprehensive3DSRStorage, ComprehensiveSRStorage, EnhancedSRStorage), BasicTextSRStorage),
    ],
)
def test_the_richest_sop_class_that_is_supported_is_stored(varied: Outgoing, refused: Sequence[str], accepted: str) -> None:
    with web_service(refusing(*refused)) as service:
        receipt = channel_to(service.port).deliver(varied)
    assert receipt.sop_class_uid == accepted
    assert len(service.requests) == len(refused) + 1


def test_a_service_that_supports_none_is_named(varied: Outgoing) -> None:
    everything = (Comprehensive3DSRStorage, ComprehensiveSRStorage, EnhancedSRStorage, BasicTextSRStorage)
    with web_service(refusing(*everything)) as service, pytest.raises(failures.StoreRefusedError) as info:
        channel_to(service.port).deliver(varied)
    assert info.value.status == "409 0x0122"


def test_the_token_is_read_anew_from_its_file(report: Outgoing, tmp_path: Path) -> None:
    token = tmp_path / "token"
    with web_service(always(body=module(UID))) as service:
        channel = channel_to(service.port, bearer_token_file=token)
        with pytest.raises(failures.NotAuthorisedError, match="no bearer token for web in the file"):
            channel.deliver(report)
        for written in ("one\n", "two"):
            token.write_text(written)
            channel.deliver(report)
    assert [request.headers["Authorization"] for request in service.requests] == ["Bearer one", "Bearer two"]


def test_the_token_may_stand_in_the_environment(report: Outgoing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEB_TOKEN", "secret")
    with web_service(always(body=module(UID))) as service:
        channel_to(service.port, bearer_token_variable="WEB_TOKEN").deliver(report)
    assert service.requests[0].headers["Authorization"] == "Bearer secret"


def test_over_mutual_tls(report: Outgoing, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    own, theirs = authority.issue("node"), authority.issue("archive")
    listening = ListenerTlsSection(certificate=theirs.certificate, key=theirs.key, trusted_certificates=authority.certificate)

    def ask(service: Service, tls: TlsSection) -> str:
        return channel_to(service.port, tls=tls).deliver(report).status

    with web_service(always(body=module(UID)), context=server_context(listening)) as service:
        trusted = authority.certificate
        assert ask(service, TlsSection(certificate=own.certificate, key=own.key, trusted_certificates=trusted)) == "200"
        with pytest.raises(failures.DeliveryError) as info:
            ask(service, TlsSection(trusted_certificates=trusted))
        assert failures.judge(info.value) is failures.Verdict.RETRY
        stranger = Authority(tmp_path / "stranger", name="Stranger").certificate
        with pytest.raises(failures.TlsFailedError, match="certificate of web is not trusted"):
            ask(service, TlsSection(certificate=own.certificate, key=own.key, trusted_certificates=stranger))
    assert len(service.requests) == 1
