"""The PDUs of association and release as values, and their bytes (PS3.8 section 9.3, PS3.7 Annex D.3.3).

Decoding is strict about lengths and lenient about reserved fields, as the Standard asks ("not tested when received"). It never reads
beyond what a length says, and never allocates by one.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA_TF, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)

HEADER = struct.Struct(">BxL")
"""PDU type and length, before each PDU."""
PDV_HEADER = struct.Struct(">LBB")
"""Length (of what follows the length), presentation context ID and message control header (PS3.8 9.3.5.1, Annex E.2)."""
PDV_OVERHEAD = 2
HEADERS = struct.Struct(">BxLLBB")
"""Both headers: of a P-DATA-TF and of its first presentation data value."""

_ITEM = struct.Struct(">BxH")
_FIXED = struct.Struct(">Hxx16s16s32x")
_VERSION_1 = 0x0001
_LONGEST_UID = 64

_APPLICATION_CONTEXT, _PRESENTATION_CONTEXT_RQ, _PRESENTATION_CONTEXT_AC, _USER_INFORMATION = 0x10, 0x20, 0x21, 0x50
_ABSTRACT_SYNTAX, _TRANSFER_SYNTAX = 0x30, 0x40
_MAXIMUM_LENGTH, _IMPLEMENTATION_CLASS, _ASYNCHRONOUS, _ROLE, _IMPLEMENTATION_VERSION = 0x51, 0x52, 0x53, 0x54, 0x55
_USER_IDENTITY = 0x58

DICOM_APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"


class InvalidPduError(Exception):
    """A PDU is not built as the Standard says (Evt19). The message holds nothing of its content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposedContext:
    """One presentation context of a request: what, and in which encodings."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles:
    """Which roles the requestor may take for a SOP class (PS3.7 D.3.3.4)."""

    scu: bool
    scp: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class UserIdentity:
    """Who the requestor says its user is (PS3.7 D.3.3.7). The fields are secrets: never logged, never kept."""

    kind: int
    positive_response_requested: bool
    primary: bytes = field(repr=False)
    secondary: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociateRequest:
    """A-ASSOCIATE-RQ. AE titles are without padding; what is not ASCII in them is replaced, so it equals nobody's title."""

    protocol_version: int
    called_ae_title: str
    calling_ae_title: str
    application_context: str
    contexts: tuple[ProposedContext, ...]
    maximum_length: int = 0
    implementation_class_uid: str = ""
    implementation_version: str = ""
    window: tuple[int, int] | None = None
    """Operations that the requestor would like to have invoked and performed at once; 0 is unlimited."""
    roles: Mapping[str, Roles] = field(default_factory=dict)
    user_identity: UserIdentity | None = None

    @property
    def speaks_our_version(self) -> bool:
        """Only bit 0 is tested (PS3.8 Table 9-11)."""
        return bool(self.protocol_version & _VERSION_1)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredContext:
    """One presentation context of an answer. `result` as in PS3.8 Table 9-18: 0 accepted, 3 and 4 which syntax was refused."""

    context_id: int
    result: int
    transfer_syntax: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociateAccept:
    """A-ASSOCIATE-AC."""

    called_ae_title: str
    calling_ae_title: str
    contexts: tuple[AnsweredContext, ...]
    maximum_length: int
    implementation_class_uid: str
    implementation_version: str
    window: tuple[int, int] | None = None
    roles: Mapping[str, Roles] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Return the whole PDU."""
        return _pdu(
            ASSOCIATE_AC,
            _FIXED.pack(_VERSION_1, _title(self.called_ae_title), _title(self.calling_ae_title)),
            _item(_APPLICATION_CONTEXT, DICOM_APPLICATION_CONTEXT.encode("ascii")),
            *(
                _item(
                    _PRESENTATION_CONTEXT_AC,
                    struct.pack(">BxBx", one.context_id, one.result),
                    _item(_TRANSFER_SYNTAX, one.transfer_syntax.encode("ascii")),
                )
                for one in self.contexts
            ),
            _item(_USER_INFORMATION, *self._user_items()),
        )

    def _user_items(self) -> Iterator[bytes]:
        yield _item(_MAXIMUM_LENGTH, struct.pack(">L", self.maximum_length))
        yield _item(_IMPLEMENTATION_CLASS, self.implementation_class_uid.encode("ascii"))
        if self.window is not None:
            yield _item(_ASYNCHRONOUS, struct.pack(">HH", *self.window))
        for uid, roles in self.roles.items():
            yield _item(_ROLE, struct.pack(">H", len(uid)), uid.encode("ascii"), bytes((roles.scu, roles.scp)))
        yield _item(_IMPLEMENTATION_VERSION, self.implementation_version.encode("ascii"))


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociateReject:
    """A-ASSOCIATE-RJ: result, source and reason of PS3.8 Table 9-21."""

    result: int
    source: int
    reason: int

    def encode(self) -> bytes:
        """Return the whole PDU."""
        return _pdu(ASSOCIATE_RJ, bytes((0, self.result, self.source, self.reason)))


RELEASE_RESPONSE = HEADER.pack(RELEASE_RP, 4) + bytes(4)


def abort(*, source: int, reason: int) -> bytes:
    """Return an A-ABORT PDU; source 0 is the service user, 2 the provider (PS3.8 Table 9-26)."""
    return _pdu(ABORT, bytes((0, 0, source, reason)))


def data(context_id: int, fragment: bytes, *, command: bool, longest: int) -> bytes:
    """Return the P-DATA-TF PDUs of one command set or data set; no PDU is longer than `longest` (0: no limit), as the peer asked."""
    room = max(1, longest - PDV_HEADER.size) if longest else max(1, len(fragment))
    parts = []
    for start in range(0, max(1, len(fragment)), room):
        part = fragment[start : start + room]
        control = int(command) | (2 if start + room >= len(fragment) else 0)
        parts.append(_pdu(P_DATA_TF, PDV_HEADER.pack(len(part) + PDV_OVERHEAD, context_id, control), part))
    return b"".join(parts)


def decode_associate_request(body: bytes | bytearray | memoryview) -> AssociateRequest:
    """Return the request that follows a PDU header.

    Raises:
        InvalidPduError: a length leads out of its place, an item that must be there is not, or one is there twice.
    """
    view = memoryview(body)
    if len(view) < _FIXED.size:
        raise InvalidPduError("an A-ASSOCIATE-RQ is too short")
    version, called, calling = _FIXED.unpack_from(view)
    application_context = ""
    contexts: dict[int, ProposedContext] = {}
    user: dict[str, object] | None = None
    for kind, value in _items(view[_FIXED.size :]):
        if kind == _APPLICATION_CONTEXT:
            application_context = _uid(value)
        elif kind == _PRESENTATION_CONTEXT_RQ:
            context = _proposed_context(value)
            if context.context_id in contexts:
                raise InvalidPduError("two presentation contexts have the same ID")
            contexts[context.context_id] = context
        elif kind == _USER_INFORMATION:
            user = _user_information(value)
    if not contexts or user is None or not application_context:
        raise InvalidPduError("an A-ASSOCIATE-RQ lacks application context, presentation contexts or user information")
    return AssociateRequest(
        protocol_version=version,
        called_ae_title=_text(called),
        calling_ae_title=_text(calling),
        application_context=application_context,
        contexts=tuple(contexts.values()),
        **user,  # type: ignore[arg-type]  # made by _user_information with these names
    )


def _proposed_context(value: memoryview) -> ProposedContext:
    if len(value) < 4:  # noqa: PLR2004 - context ID and three reserved bytes
        raise InvalidPduError("a presentation context is too short")
    context_id = value[0]
    if context_id % 2 == 0:
        raise InvalidPduError("a presentation context ID is even")
    abstract, transfer = [], []
    for kind, syntax in _items(value[4:]):
        if kind == _ABSTRACT_SYNTAX:
            abstract.append(_uid(syntax))
        elif kind == _TRANSFER_SYNTAX:
            transfer.append(_uid(syntax))
    if len(abstract) != 1 or not transfer:
        raise InvalidPduError("a presentation context has not one abstract syntax and some transfer syntax")
    return ProposedContext(context_id=context_id, abstract_syntax=abstract[0], transfer_syntaxes=tuple(transfer))


def _user_information(value: memoryview) -> dict[str, object]:
    found: dict[str, object] = {}
    roles: dict[str, Roles] = {}
    for kind, content in _items(value):
        if kind == _MAXIMUM_LENGTH:
            (found["maximum_length"],) = _fields(">L", content)
        elif kind == _IMPLEMENTATION_CLASS:
            found["implementation_class_uid"] = _uid(content)
        elif kind == _IMPLEMENTATION_VERSION:
            found["implementation_version"] = _text(bytes(content))
        elif kind == _ASYNCHRONOUS:
            found["window"] = _fields(">HH", content)
        elif kind == _ROLE:
            uid, scu, scp = _role(content)
            roles[uid] = Roles(scu=scu, scp=scp)
        elif kind == _USER_IDENTITY:
            found["user_identity"] = _user_identity(content)
        # What else there is (extended negotiation, 56H and 57H) needs no answer: it is as if we did not support it (PS3.7 D.3.3.5).
    return found | {"roles": roles}


def _role(content: memoryview) -> tuple[str, bool, bool]:
    length, rest = _prefixed(content)
    if len(rest) != length + 2:
        raise InvalidPduError("a role selection has the wrong length")
    return _uid(rest[:length]), rest[length] == 1, rest[length + 1] == 1


def _user_identity(content: memoryview) -> UserIdentity:
    if len(content) < 2:  # noqa: PLR2004 - type and whether an answer is asked for
        raise InvalidPduError("a user identity is too short")
    length, rest = _prefixed(content[2:])
    if len(rest) < length:
        raise InvalidPduError("a user identity has the wrong length")
    second_length, second = _prefixed(rest[length:])
    if len(second) != second_length:
        raise InvalidPduError("a user identity has the wrong length")
    return UserIdentity(kind=content[0], positive_response_requested=content[1] == 1, primary=bytes(rest[:length]), secondary=bytes(second))


def _prefixed(content: memoryview) -> tuple[int, memoryview]:
    if len(content) < 2:  # noqa: PLR2004 - the length itself
        raise InvalidPduError("an item is too short")
    return int.from_bytes(content[:2], "big"), content[2:]


def _items(view: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield type and content of each item; all of `view` must be items."""
    at = 0
    while at < len(view):
        if at + _ITEM.size > len(view):
            raise InvalidPduError("an item is cut off")
        kind, length = _ITEM.unpack_from(view, at)
        at += _ITEM.size
        if at + length > len(view):
            raise InvalidPduError("an item is longer than what holds it")
        yield kind, view[at : at + length]
        at += length


def _fields(form: str, content: memoryview) -> tuple[int, ...]:
    if len(content) != struct.calcsize(form):
        raise InvalidPduError("an item of fixed length has another one")
    return struct.unpack(form, content)


def _uid(content: memoryview) -> str:
    """Return a UID as text, whatever it holds; only its length is checked. One that is none matches nothing we support."""
    text = bytes(content).rstrip(b"\0 ")
    if not text or len(text) > _LONGEST_UID:
        raise InvalidPduError("a UID is empty or longer than 64 characters")
    return text.decode("ascii", errors="replace")


def _text(content: bytes) -> str:
    return content.strip(b"\0 ").decode("ascii", errors="replace")


def _title(text: str) -> bytes:
    return text.encode("ascii", errors="replace")[:16].ljust(16)


def _item(kind: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return _ITEM.pack(kind, len(content)) + content


def _pdu(kind: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return HEADER.pack(kind, len(content)) + content
