"""Who may associate: calling AE title, address, certificate and limits, each with the answer of PS3.8 9.3.4."""

from typing import Any

import pytest
import structlog
from pydantic import ValidationError

from config.peers import subject_of
from config.receiving import ReceiveSection
from dicom_node.receiving.peers import Peers, Refusal, Why
from dicom_node.tls.contexts import PeerCertificate

OWN = "DICOM-NODE"
TLS = {"certificate": "own.pem", "key": "own.key", "trusted_certificates": "ca.pem"}
CALLED_NOT_RECOGNIZED, CALLING_NOT_RECOGNIZED = (1, 1, 7), (1, 1, 3)
TEMPORARY_CONGESTION, LOCAL_LIMIT_EXCEEDED = (2, 3, 1), (2, 3, 2)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def certificate(subject: str = "CN=CT1,O=North Hospital", *, sha256: str = "a" * 64, dns_names: tuple[str, ...] = ()) -> PeerCertificate:
    return PeerCertificate(sha256=sha256, subject=subject_of(subject), dns_names=dns_names)


def peers(*sections: dict[str, Any], clock: Clock | None = None, **settings: Any) -> Peers:
    return Peers(ae_title=OWN, settings=ReceiveSection(peers=sections, **settings), monotonic=clock or Clock())


def admit(
    known: Peers, *, calling: str = "CT1", called: str = OWN, address: str = "192.0.2.7", shown: PeerCertificate | None = None
) -> Refusal | None:
    return known.admit(calling_ae_title=calling, called_ae_title=called, address=address, certificate=shown)


def answer(refusal: Refusal | None) -> tuple[int, int, int]:
    assert refusal is not None, "it was admitted"
    return (refusal.result, refusal.source, refusal.reason)


def test_a_listed_calling_ae_title_is_admitted_from_anywhere() -> None:
    known = peers(calling_ae_titles=("CT1",))
    assert admit(known) is None
    assert admit(known, calling="CT1             ", called="DICOM-NODE      ", address="2001:db8::1") is None


def test_an_unknown_calling_ae_title_and_another_called_ae_title_are_told_apart() -> None:
    known = peers(calling_ae_titles=("CT1",))
    assert answer(admit(known, calling="STRANGER")) == CALLING_NOT_RECOGNIZED
    assert answer(admit(known, called="SOMEBODY")) == CALLED_NOT_RECOGNIZED


def test_nobody_is_admitted_if_nobody_is_listed_and_everybody_if_the_settings_say_so() -> None:
    assert answer(admit(peers())) == CALLING_NOT_RECOGNIZED
    assert admit(peers(any_calling_ae_title=True)) is None


@pytest.mark.parametrize("address", ["192.0.2.7", "::ffff:192.0.2.7", "2001:db8::5", "fe80::1%eth0"])
def test_a_peer_is_admitted_from_its_addresses_and_networks(address: str) -> None:
    known = peers({"name": "ct", "ae_titles": ("CT1",), "addresses": ("192.0.2.0/29", "2001:db8::/64", "fe80::1")})
    assert admit(known, address=address) is None


@pytest.mark.parametrize("address", ["192.0.2.8", "2001:db9::5", "not an address", ""])
def test_a_peer_from_elsewhere_is_not_recognised(address: str) -> None:
    known = peers({"name": "ct", "ae_titles": ("CT1",), "addresses": ("192.0.2.0/29", "2001:db8::/64")})
    refusal = admit(known, address=address)
    assert answer(refusal) == CALLING_NOT_RECOGNIZED
    assert refusal is not None
    assert refusal.why is Why.ADDRESS


def test_an_address_that_no_peer_has_may_not_even_connect() -> None:
    known = peers({"name": "ct", "ae_titles": ("CT1",), "addresses": ("192.0.2.0/29",)})
    assert known.may_connect("192.0.2.1")
    assert not known.may_connect("198.51.100.1")
    assert peers({"name": "ct", "ae_titles": ("CT1",)}).may_connect("198.51.100.1")
    assert peers(any_calling_ae_title=True).may_connect("198.51.100.1")


BOUND: dict[str, Any] = {
    "name": "ct",
    "ae_titles": ("CT1",),
    "certificate_subject": "CN=CT1,O=North Hospital",
    "certificate_sha256": ("a" * 64, "b" * 64),
    "certificate_dns_name": "CT1.example.org",
}


@pytest.mark.parametrize(
    "shown",
    [
        certificate(dns_names=("ct1.example.org",)),
        certificate("O=North Hospital, CN=CT1", sha256="b" * 64, dns_names=("x", "CT1.EXAMPLE.ORG")),
    ],
    ids=["as listed", "renewed, and its subject in the other order"],
)
def test_a_peer_with_its_certificate_is_admitted(shown: PeerCertificate) -> None:
    assert admit(peers(BOUND, tls=TLS), shown=shown) is None


@pytest.mark.parametrize(
    ("shown", "why"),
    [
        (None, Why.NO_CERTIFICATE),
        (certificate("CN=CT2,O=North Hospital", dns_names=("ct1.example.org",)), Why.CERTIFICATE),
        (certificate(sha256="c" * 64, dns_names=("ct1.example.org",)), Why.CERTIFICATE),
        (certificate(dns_names=("ct2.example.org",)), Why.CERTIFICATE),
        (certificate("CN=CT1", dns_names=("ct1.example.org",)), Why.CERTIFICATE),
    ],
    ids=["none", "another subject", "another fingerprint", "another name", "less of a subject"],
)
def test_a_peer_without_its_certificate_is_not_recognised(shown: PeerCertificate | None, why: Why) -> None:
    refusal = admit(peers(BOUND, tls=TLS), shown=shown)
    assert answer(refusal) == CALLING_NOT_RECOGNIZED
    assert refusal is not None
    assert refusal.why is why


def test_the_certificate_of_one_peer_does_not_speak_for_another() -> None:
    known = peers(BOUND, {"name": "mr", "ae_titles": ("MR1",)}, calling_ae_titles=("XRAY1",), tls=TLS)
    shown = certificate(dns_names=("ct1.example.org",))
    assert answer(admit(known, calling="MR1", shown=shown)) == CALLING_NOT_RECOGNIZED
    assert answer(admit(known, calling="XRAY1", shown=shown)) == CALLING_NOT_RECOGNIZED
    assert admit(known, calling="XRAY1", shown=certificate("CN=XRAY1", sha256="d" * 64)) is None


def test_a_peer_beyond_its_associations_is_rejected_as_transient_until_one_ends() -> None:
    known = peers({"name": "ct", "ae_titles": ("CT1", "CT2"), "maximum_associations": 2}, calling_ae_titles=("MR1",))
    assert [admit(known, calling=title) for title in ("CT1", "CT2")] == [None, None]
    assert answer(admit(known, calling="CT1")) == LOCAL_LIMIT_EXCEEDED
    assert admit(known, calling="MR1") is None
    known.release(calling_ae_title="CT2")
    assert admit(known, calling="CT1") is None


def test_the_node_beyond_all_its_associations_is_rejected_as_transient_for_everybody() -> None:
    known = peers(calling_ae_titles=("CT1", "MR1"), maximum_associations=2)
    assert [admit(known, calling=title) for title in ("CT1", "MR1")] == [None, None]
    assert answer(admit(known, calling="MR1")) == LOCAL_LIMIT_EXCEEDED
    known.release(calling_ae_title="CT1")
    assert admit(known, calling="MR1") is None


def test_a_peer_that_associates_too_often_waits_and_holds_up_nobody_else() -> None:
    clock = Clock()
    known = peers({"name": "ct", "ae_titles": ("CT1",), "associations_per_minute": 3}, calling_ae_titles=("MR1",), clock=clock)
    assert [admit(known) for _ in range(3)] == [None] * 3
    assert answer(admit(known)) == TEMPORARY_CONGESTION
    assert admit(known, calling="MR1") is None
    clock.now += 20
    assert admit(known) is None
    assert answer(admit(known)) == TEMPORARY_CONGESTION
    clock.now += 3600
    assert [admit(known) for _ in range(3)] == [None] * 3
    assert answer(admit(known)) == TEMPORARY_CONGESTION


def test_refused_associations_take_no_place() -> None:
    known = peers(calling_ae_titles=("CT1",), maximum_associations=1)
    for _ in range(20):
        assert admit(known, calling="STRANGER") is not None
    assert admit(known) is None


def test_what_a_peer_may_do_stands_in_the_settings() -> None:
    known = peers(
        {"name": "ct", "ae_titles": ("CT1",), "urgent": True, "maximum_object_mb": 3, "sop_classes": ("1.2.840.10008.5.1.4.1.1.2",)},
        calling_ae_titles=("MR1",),
    )
    ct, mr = known.peer("CT1 "), known.peer("MR1")
    assert ct is not None
    assert mr is not None
    assert (ct.name, ct.urgent, ct.maximum_object_bytes) == ("ct", True, 3_000_000)
    assert ct.may_store("1.2.840.10008.5.1.4.1.1.2")
    assert not ct.may_store("1.2.840.10008.5.1.4.1.1.4")
    assert mr.may_store("1.2.840.10008.5.1.4.1.1.4")
    assert known.peer("STRANGER") is None


def test_each_refusal_is_logged_and_counted_with_the_name_of_a_known_peer() -> None:
    counted: list[tuple[str, Why]] = []
    settings = ReceiveSection(peers=({"name": "ct", "ae_titles": ("CT1",), "addresses": ("192.0.2.0/29",)},))
    known = Peers(ae_title=OWN, settings=settings, monotonic=Clock(), on_refusal=lambda peer, why: counted.append((peer, why)))
    with structlog.testing.capture_logs() as logs:
        admit(known, address="198.51.100.1")
        admit(known, calling="STRANGER")
        admit(known)
    assert counted == [("ct", Why.ADDRESS), ("(unknown)", Why.CALLING_AE_TITLE)]
    assert [(entry["event"], entry["peer_name"], entry["reason"], entry["peer"]) for entry in logs] == [
        ("association_rejected", "ct", "address", "198.51.100.1"),
        ("association_rejected", "(unknown)", "calling AE title", "192.0.2.7"),
    ]


def test_an_ae_title_belongs_to_one_peer() -> None:
    with pytest.raises(ValidationError, match="'CT1' is listed twice"):
        peers({"name": "ct", "ae_titles": ("CT1",)}, {"name": "mr", "ae_titles": ("CT1",)})
    with pytest.raises(ValidationError, match="'CT1' is listed twice"):
        peers({"name": "ct", "ae_titles": ("CT1",)}, calling_ae_titles=("CT1",))
    with pytest.raises(ValidationError, match="'ct' is listed twice"):
        peers({"name": "ct", "ae_titles": ("CT1",)}, {"name": "ct", "ae_titles": ("CT2",)})


def test_a_peer_with_a_certificate_needs_tls() -> None:
    with pytest.raises(ValidationError, match=r"receive\.tls with trusted_certificates is needed"):
        peers(BOUND)


@pytest.mark.parametrize("address", ["192.0.2.1/24", "ct1.example.org", "192.0.2", "192.0.2.0/33", ""])
def test_what_is_no_address_and_no_network_is_a_mistake(address: str) -> None:
    with pytest.raises(ValidationError, match="no address and no network"):
        peers({"name": "ct", "ae_titles": ("CT1",), "addresses": (address,)})


@pytest.mark.parametrize("subject", ["CT1 alone", "CN=CT1,", "XX=1,CN=CT1", "CN=a,,O=b", "CN="])
def test_what_is_no_distinguished_name_is_a_mistake(subject: str) -> None:
    with pytest.raises(ValueError, match="no distinguished name"):
        subject_of(subject)


def test_a_distinguished_name_may_hold_quoted_commas() -> None:
    assert subject_of(r"CN=CT 1\, north,OU=Radiology , O=Hospital") == (
        ("commonName", "CT 1, north"),
        ("organizationalUnitName", "Radiology"),
        ("organizationName", "Hospital"),
    )
