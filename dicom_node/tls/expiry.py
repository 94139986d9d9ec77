"""The dates in PEM files: when a certificate (RFC 5280 section 4.1) or a revocation list (5.1) runs out.

The standard library verifies certificates, but tells the dates of a peer's only, and not of one's own.
"""

import base64
import binascii
import re
from collections.abc import Iterator
from datetime import UTC, datetime

_BLOCK = re.compile(rb"-----BEGIN (?P<kind>X509 CRL|(?:TRUSTED |X509 )?CERTIFICATE)-----(?P<body>[A-Za-z0-9+/=\s]+)-----END (?P=kind)-----")
_INTEGER, _UTC_TIME, _GENERALIZED_TIME, _SEQUENCE, _VERSION = 0x02, 0x17, 0x18, 0x30, 0xA0
_LONG_FORM = 0x80


class UnreadableCertificateError(ValueError):
    """There is no certificate or revocation list in the file, or it is damaged."""


def expires_at(pem: bytes) -> datetime:
    """Return the first notAfter of the certificates in a PEM file.

    Raises:
        UnreadableCertificateError: it has none, or one is damaged.
    """
    return _first(_not_after(der) for kind, der in _blocks(pem) if kind != b"X509 CRL")


def next_update_at(pem: bytes) -> datetime:
    """Return the first nextUpdate of the revocation lists in a PEM file. Raises as `expires_at`."""
    return _first(_next_update(der) for kind, der in _blocks(pem) if kind == b"X509 CRL")


def _first(dates: Iterator[datetime]) -> datetime:
    found = tuple(dates)
    if not found:
        raise UnreadableCertificateError("there is nothing of that kind in the file")
    return min(found)


def _blocks(pem: bytes) -> Iterator[tuple[bytes, bytes]]:
    for block in _BLOCK.finditer(pem):
        try:
            yield block["kind"], base64.b64decode(b"".join(block["body"].split()), validate=True)
        except binascii.Error as exc:
            raise UnreadableCertificateError("a block is not base64") from exc


def _not_after(der: bytes) -> datetime:
    fields = _signed_fields(der)
    if fields and fields[0][0] == _VERSION:
        fields = fields[1:]
    # serialNumber, signature, issuer, validity
    return _date(_elements(_content(fields, 3, _SEQUENCE)), 1)


def _next_update(der: bytes) -> datetime:
    fields = _signed_fields(der)
    if fields and fields[0][0] == _INTEGER:
        fields = fields[1:]
    # signature, issuer, thisUpdate, nextUpdate; the last is optional in X.509, but RFC 5280 5.1.2.5 asks for it
    return _date(fields, 3)


def _signed_fields(der: bytes) -> list[tuple[int, bytes]]:
    """Return the elements of what is signed: the first element of the outer sequence."""
    outer = _content(_elements(der), 0, _SEQUENCE)
    return _elements(_content(_elements(outer), 0, _SEQUENCE))


def _content(elements: list[tuple[int, bytes]], index: int, tag: int) -> bytes:
    if index >= len(elements) or elements[index][0] != tag:
        raise UnreadableCertificateError("it is not built as RFC 5280 says")
    return elements[index][1]


def _elements(der: bytes) -> list[tuple[int, bytes]]:
    """Return (tag, content) of each element of a DER sequence's content."""
    found, at = [], 0
    while at < len(der):
        tag, at = der[at], at + 1
        length, at = _length(der, at)
        if at + length > len(der):
            raise UnreadableCertificateError("it is cut off")
        found.append((tag, der[at : at + length]))
        at += length
    return found


def _length(der: bytes, at: int) -> tuple[int, int]:
    if at >= len(der):
        raise UnreadableCertificateError("it is cut off")
    first, at = der[at], at + 1
    if first < _LONG_FORM:
        return first, at
    size = first - _LONG_FORM
    return int.from_bytes(der[at : at + size], "big"), at + size


def _date(elements: list[tuple[int, bytes]], index: int) -> datetime:
    if index >= len(elements) or elements[index][0] not in {_UTC_TIME, _GENERALIZED_TIME}:
        raise UnreadableCertificateError("a date is missing")
    tag, content = elements[index]
    try:
        text = content.decode("ascii")
        if tag == _UTC_TIME:  # two digits of the year: 50 to 99 are 19xx (RFC 5280 4.1.2.5.1)
            text = ("19" if int(text[:2]) >= 50 else "20") + text  # noqa: PLR2004 - the RFC's year
        return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
    except ValueError as exc:
        raise UnreadableCertificateError("a date is damaged") from exc
