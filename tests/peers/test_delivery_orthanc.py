"""Results to Orthanc, and studies from it: a real archive at the other end."""

import hashlib
import os
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.uid import Comprehensive3DSRStorage

from config.destinations import CStoreDestination
from dicom_node import failures
from dicom_node.delivery import DeliveryChannel, open_channel
from dicom_node.demo.archive import Archive
from tests.peers.orthanc import Modality, OrthancError, OrthancPeer, find_orthanc
from tests.peers.reports import outgoing, structured_report
from tests.peers.test_delivery_c_store import encoded_data_set

pytestmark = pytest.mark.skipif(find_orthanc() is None, reason="Orthanc is not installed (apt-get install orthanc)")

SR = str(Comprehensive3DSRStorage)
EXAMPLES = Path(os.environ.get("DICOM_NODE_SHARED", "/nonexistent")) / "sr-examples"
STUDY_TIMEOUT_S = 20


@pytest.fixture(scope="module")
def node_archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """Stands where the node's receiver stands: Orthanc routes stable studies to it."""
    with Archive(tmp_path_factory.mktemp("node"), ae_title="DICOM-NODE") as archive:
        yield archive


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory, node_archive: Archive) -> Iterator[OrthancPeer]:
    node = Modality(name="node", ae_title="DICOM-NODE", port=node_archive.port)
    with OrthancPeer(tmp_path_factory.mktemp("orthanc"), modalities=[node], route_stable_studies_to="node") as peer:
        yield peer


def channel_to(orthanc: OrthancPeer, *, calling_ae_title: str = "DICOM-NODE", called_ae_title: str | None = None) -> DeliveryChannel:
    destination = CStoreDestination(
        name="orthanc", host=orthanc.host, port=orthanc.dicom_port, ae_title=called_ae_title or orthanc.ae_title, timeout_s=10
    )
    return open_channel(destination, calling_ae_title=calling_ae_title)


def write(folder: Path, uid: str) -> Path:
    path = folder / "result.dcm"
    path.write_bytes(structured_report(uid, text="Überschrift: nothing was analysed."))
    return path


def _as_bytes(data_set: Dataset) -> bytes:
    file = BytesIO()
    dcmwrite(file, data_set)
    return file.getvalue()


def test_orthanc_shows_the_report_that_it_was_sent(orthanc: OrthancPeer, tmp_path: Path) -> None:
    path = write(tmp_path, "2.25.1001")
    receipt = channel_to(orthanc).deliver(outgoing(path, SR, "2.25.1001"))
    assert (receipt.status, receipt.warning) == ("0x0000", False)
    tags = orthanc.tags("2.25.1001")
    assert (tags["SOPClassUID"], tags["Modality"], tags["PatientID"]) == (SR, "SR", "CANARY-ID")
    assert tags["ContentSequence"][0]["TextValue"] == "Überschrift: nothing was analysed."
    assert orthanc.reports(dcmread(path).StudyInstanceUID) == ("2.25.1001",)


def test_orthanc_holds_the_data_set_byte_for_byte(orthanc: OrthancPeer, tmp_path: Path) -> None:
    path = write(tmp_path, "2.25.1002")
    channel_to(orthanc).deliver(outgoing(path, SR, "2.25.1002"))
    assert encoded_data_set(orthanc.file("2.25.1002")) == encoded_data_set(path.read_bytes())


def test_sending_again_after_a_crash_leaves_one_instance(orthanc: OrthancPeer, tmp_path: Path) -> None:
    path = write(tmp_path, "2.25.1003")
    before = orthanc.count_instances()
    channel = channel_to(orthanc)
    assert [channel.deliver(outgoing(path, SR, "2.25.1003")).status for _ in range(2)] == ["0x0000", "0x0000"]
    assert orthanc.count_instances() == before + 1


def test_orthanc_rejects_a_node_that_it_does_not_know(orthanc: OrthancPeer, tmp_path: Path) -> None:
    with pytest.raises(failures.DeliveryError) as info:
        channel_to(orthanc, calling_ae_title="A-STRANGER").deliver(outgoing(write(tmp_path, "2.25.1004"), SR, "2.25.1004"))
    assert failures.judge(info.value) is failures.Verdict.RETRY
    assert orthanc.find("2.25.1004") is None


def test_orthanc_rejects_a_wrong_called_ae_title(orthanc: OrthancPeer, tmp_path: Path) -> None:
    with pytest.raises(failures.AssociationRejectedError, match=r"[Cc]alled AE title.*'NOT-ORTHANC'"):
        channel_to(orthanc, called_ae_title="NOT-ORTHANC").deliver(outgoing(write(tmp_path, "2.25.1005"), SR, "2.25.1005"))


def test_orthanc_routes_a_stable_study_but_not_the_report_in_it(orthanc: OrthancPeer, node_archive: Archive) -> None:
    report = dcmread(BytesIO(structured_report("2.25.1006")))
    image = dcmread(BytesIO(structured_report("2.25.1007")))
    image.StudyInstanceUID, image.Modality = report.StudyInstanceUID, "OT"
    for part in (image, report):
        orthanc.upload(_as_bytes(part))
    orthanc.echo("node")
    assert node_archive.wait_for(
        lambda received: any(stored.sop_instance_uid == "2.25.1007" for stored in received), timeout_s=STUDY_TIMEOUT_S
    ), orthanc.log()
    assert not any(stored.sop_instance_uid == "2.25.1006" for stored in node_archive.received())
    assert orthanc.reports(report.StudyInstanceUID) == ("2.25.1006",)


def test_a_peer_that_cannot_start_shows_its_log(tmp_path: Path) -> None:
    (tmp_path / "storage").write_text("a file where Orthanc needs a folder")
    with pytest.raises(OrthancError, match=r"exit status[\s\S]*storage"), OrthancPeer(tmp_path):
        pass


@pytest.mark.skipif(not EXAMPLES.is_dir(), reason="DICOM_NODE_SHARED is not set")
def test_every_example_report_arrives_whole(orthanc: OrthancPeer) -> None:
    channel = channel_to(orthanc)
    for path in sorted(EXAMPLES.glob("*.dcm")):
        header = dcmread(path)
        receipt = channel.deliver(outgoing(path, header.SOPClassUID, header.SOPInstanceUID, kind="as it is"))
        assert receipt.status == "0x0000", path.name
        sent, kept = encoded_data_set(path.read_bytes()), encoded_data_set(orthanc.file(header.SOPInstanceUID))
        assert hashlib.sha256(sent).hexdigest() == hashlib.sha256(kept).hexdigest(), path.name
