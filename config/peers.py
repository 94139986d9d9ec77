"""Peers that may associate with this node: who they are, where they are, how they prove it, and how much they may do."""

import ipaddress
import re
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, Field, StringConstraints

from config.section import AeTitle, Section, Sha256, Slug

Subject: TypeAlias = tuple[tuple[str, str], ...]
"""A distinguished name: (attribute as OpenSSL names it in full, value), in the order it is written."""

# RFC 4514 section 3 and Table of 2.3's short names; OpenSSL tells the long ones.
LONG_NAMES = {
    "CN": "commonName",
    "O": "organizationName",
    "OU": "organizationalUnitName",
    "C": "countryName",
    "L": "localityName",
    "ST": "stateOrProvinceName",
    "STREET": "streetAddress",
    "DC": "domainComponent",
    "UID": "userId",
    "SERIALNUMBER": "serialNumber",
    "EMAILADDRESS": "emailAddress",
}
_PAIR = re.compile(r"\s*(?P<name>[A-Za-z]+)\s*=\s*(?P<value>(?:[^\\,+\"<>;=]|\\[ ,+\"\\<>;=#])+)(?:,|$)")


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text.strip()))
    except ValueError as exc:
        raise ValueError(f"{text!r} is no address and no network; write it as 192.0.2.7, 192.0.2.0/24 or 2001:db8::/64") from exc


def _subject(text: str) -> str:
    subject_of(text)
    return text


def subject_of(text: str) -> Subject:
    """Return a distinguished name written as in RFC 4514: `CN=CT1,OU=Radiology,O=North Hospital`.

    Raises:
        ValueError: it is not written so.
    """
    found: list[tuple[str, str]] = []
    at = 0
    while at < len(text):
        pair = _PAIR.match(text, at)
        if pair is None or pair["name"].upper() not in LONG_NAMES:
            raise ValueError(
                f"is no distinguished name from character {at + 1} on; write it as CN=CT1,O=Hospital ({', '.join(LONG_NAMES)})"
            )
        found.append((LONG_NAMES[pair["name"].upper()], re.sub(r"\\(.)", r"\1", pair["value"].strip())))
        at = pair.end()
    if not found or re.search(r"(?<!\\),\s*$", text):
        raise ValueError("is no distinguished name; write it as CN=CT1,O=Hospital")
    return tuple(found)


Network = Annotated[str, AfterValidator(_network)]
DistinguishedName = Annotated[str, StringConstraints(min_length=4, max_length=1024), AfterValidator(_subject)]
DnsName = Annotated[str, StringConstraints(to_lower=True, pattern=r"^[A-Za-z0-9*]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$")]
UidText = Annotated[str, StringConstraints(pattern=r"^[0-9]+(\.[0-9]+)+$", max_length=64)]


class PeerSection(Section):
    """One sender, or a group of senders that are treated alike. Limits count for all its AE titles together, in each receiver process."""

    name: Slug = Field(description="Name of the peer in logs and metrics.")
    ae_titles: tuple[AeTitle, ...] = Field(min_length=1, description="Calling AE titles of this peer; no other peer has them.")
    addresses: tuple[Network, ...] = Field((), description="Addresses and networks that it may call from; from anywhere if left out.")
    certificate_subject: DistinguishedName | None = Field(
        None, description="Distinguished name that its certificate must have, as in `CN=CT1,O=Hospital`; the order may be reversed."
    )
    certificate_dns_name: DnsName | None = Field(None, description="DNS name that its certificate must have among its alternative names.")
    certificate_sha256: tuple[Sha256, ...] = Field(
        (), description="SHA-256 fingerprints (64 lower-case hexadecimal digits) of which its certificate must have one."
    )
    urgent: bool = Field(False, description="Its studies settle and run first.")
    maximum_associations: int | None = Field(None, ge=1, le=1000, description="Associations open at once; more are rejected as transient.")
    associations_per_minute: int | None = Field(
        None, ge=1, le=100_000, description="Associations begun in a minute; more are rejected as transient. No limit if left out."
    )
    maximum_object_mb: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="Largest object, in MB, that is taken; others are refused with 0xA700. No limit if left out.",
    )
    sop_classes: tuple[UidText, ...] = Field((), description="SOP Class UIDs that it may store; all that the node takes if left out.")

    @property
    def has_certificate(self) -> bool:
        """True if it must prove who it is with a certificate."""
        return bool(self.certificate_subject or self.certificate_dns_name or self.certificate_sha256)
