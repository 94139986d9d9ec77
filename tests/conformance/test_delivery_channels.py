"""What every delivery channel promises, asked of each in the registry."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import pytest
from pydicom.uid import Comprehensive3DSRStorage

from config.destinations import CStoreDestination, Destination, FolderDestination
from dicom_node.delivery import CHANNELS, DeliveryChannel, open_channel
from dicom_node.demo.archive import Archive
from dicom_node.failures import DeliveryError, ResultMissingError, Verdict, judge
from tests.peers.reports import structured_report
from tests.peers.scripted import unused_port

SR = str(Comprehensive3DSRStorage)
UID = "2.25.1234567890"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture(params=sorted(CHANNELS))
def working(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Destination]:
    """A destination of each kind that takes results. A new kind has to be added here."""
    if request.param == "folder":
        (tmp_path / "outbox").mkdir()
        yield FolderDestination(name="there", folder=tmp_path / "outbox")
        return
    assert request.param == "c-store"
    with Archive(tmp_path / "archive") as archive:
        yield CStoreDestination(name="there", host=archive.host, port=archive.port, ae_title=archive.ae_title)


@pytest.fixture(params=sorted(CHANNELS))
def absent(request: pytest.FixtureRequest, tmp_path: Path) -> Destination:
    """A destination of each kind that is not there."""
    if request.param == "folder":
        return FolderDestination(name="absent", folder=tmp_path / "not-mounted")
    assert request.param == "c-store"
    return CStoreDestination(name="absent", host="127.0.0.1", port=unused_port(), ae_title="NOBODY", timeout_s=2)


@pytest.fixture
def report(tmp_path: Path) -> Path:
    path = tmp_path / "result.dcm"
    path.write_bytes(structured_report(UID))
    return path


def open_at_noon(destination: Destination) -> DeliveryChannel:
    return open_channel(destination, calling_ae_title="DICOM-NODE", clock=lambda: NOW)


def test_every_kind_of_destination_in_the_settings_has_a_channel() -> None:
    kinds = {member.model_fields["kind"].default for member in get_args(get_args(Destination)[0])}
    assert kinds == set(CHANNELS)


def test_a_delivered_result_has_a_receipt_with_the_status_and_the_time(working: Destination, report: Path) -> None:
    receipt = open_at_noon(working).deliver(report, SR, UID)
    assert receipt.accepted
    assert not receipt.warning
    assert receipt.status
    assert (receipt.destination, receipt.at) == ("there", NOW)


def test_delivering_again_is_harmless(working: Destination, report: Path) -> None:
    channel = open_at_noon(working)
    assert all(channel.deliver(report, SR, UID).accepted for _ in range(2))


def test_a_missing_file_is_named_and_tried_again(working: Destination, tmp_path: Path) -> None:
    with pytest.raises(ResultMissingError, match=UID) as info:
        open_at_noon(working).deliver(tmp_path / "gone.dcm", SR, UID)
    assert judge(info.value) is Verdict.RETRY


def test_an_absent_destination_is_no_error_before_the_first_delivery_and_then_tried_again(absent: Destination, report: Path) -> None:
    channel = open_at_noon(absent)
    with pytest.raises(DeliveryError, match="absent") as info:
        channel.deliver(report, SR, UID)
    assert judge(info.value) is Verdict.RETRY
