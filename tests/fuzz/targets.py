"""What is fuzzed: each parser of something that a stranger wrote, through its public door.

A target fails by raising anything but what its docstring says. `run` returns a short word for what became of the input, for the table.
"""

import contextlib
import io
import random
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from config.manifests import ModelManifest
from config.mistakes import mistakes_of
from config.prompt_sets import PromptSet
from config.schema import Settings
from config.section import Section
from config.source import SourceError, read_source
from config.tls import TlsSection
from dicom_node.keeping.object_store import ObjectStore
from dicom_node.keeping.part10 import NotDicomError, read_file_meta
from dicom_node.receiving.capabilities import SUPPORTED_SOP_CLASSES, TRANSFER_SYNTAXES
from dicom_node.receiving.header_peek import peek
from dicom_node.receiving.instance_header import InstanceHeader, UnreadableHeaderError, is_valid_uid, peek_received, peek_start
from dicom_node.tls.contexts import client_context
from dicom_node.tls.expiry import UnreadableCertificateError, expires_at, next_update_at
from dicom_node.upper_layer.acceptor import Acceptor, PduTooLongError
from dicom_node.upper_layer.machine import State
from dicom_node.upper_layer.messages import Command, CommandField, MessageError, Messages, encode_response
from dicom_node.upper_layer.negotiation import Offer, accept, accepted_contexts, objection
from dicom_node.upper_layer.pdus import AssociateAccept, AssociateReject, AssociateRequest
from tests.certificates import Authority
from tests.fuzz import pixels
from tests.fuzz.mutation import Mutator, split
from tests.fuzz.scp import SocketTarget
from tests.receiving import ct_slice, encoded

CORPUS = Path(__file__).parent / "corpus"
PROJECT = Path(__file__).parents[2]
OFFER = Offer(
    abstract_syntaxes=SUPPORTED_SOP_CLASSES,
    transfer_syntaxes=TRANSFER_SYNTAXES,
    maximum_pdu_bytes=16384,
    maximum_operations=4,
    implementation_class_uid="1.2.3",
    implementation_version="FUZZ",
)


class Input(Protocol):
    """Makes the next input."""

    def __call__(self, mutator: Mutator) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One thing to fuzz. `share` is how much of all inputs it gets, `at_once` how many in the short run."""

    name: str
    corpus: tuple[bytes, ...]
    run: Callable[[bytes], str]
    make: Input = Mutator.changed
    share: float = 0.1
    short: int = 500


def conversations() -> tuple[bytes, ...]:
    """Return what real senders said, as `tests.fuzz.record` recorded it."""
    return tuple(path.read_bytes() for path in sorted((CORPUS / "conversations").glob("*.bin")))


class User:
    """A service user that does what the node does, without a disk: accepts, answers C-ECHO and C-STORE, throws data away."""

    def __init__(self) -> None:
        self.acceptor: Acceptor | None = None
        self.accepted = self.ended = self.answered = 0
        self._messages = Messages(self)
        self._contexts: frozenset[int] = frozenset()

    def on_request(self, request: AssociateRequest) -> AssociateAccept | AssociateReject:
        refusal = objection(request)
        if refusal is not None:
            return refusal
        answer = accept(request, OFFER)
        self._contexts = frozenset(accepted_contexts(request, answer))
        self.accepted += 1
        return answer

    def on_data(self, context_id: int, fragment: memoryview, *, command: bool, last: bool) -> None:
        assert self.acceptor is not None
        try:
            if context_id not in self._contexts:
                raise MessageError("a context that was not accepted")
            self._messages.take(context_id, fragment, command=command, last=last)
        except MessageError:
            self.acceptor.abort()

    def on_command(self, context_id: int, command: Command) -> None:
        if not command.has_data_set and command.field != CommandField.C_CANCEL:
            self.on_data_set(context_id, command)

    def on_data_set(self, context_id: int, command: Command) -> None:
        assert self.acceptor is not None
        self.answered += 1
        uids = {"sop_class_uid": command.sop_class_uid, "sop_instance_uid": command.sop_instance_uid}
        self.acceptor.send_data(context_id, encode_response(command.field, message_id=command.message_id, status=0, **uids))

    def on_release(self) -> None:
        assert self.acceptor is not None
        self.acceptor.release()

    def on_end(self, *, aborted: bool) -> None:
        self.ended += 1


def upper_layer(data: bytes) -> str:
    """A whole conversation in pieces of any size: only PduTooLongError may be raised, and what is answered is PDUs."""
    user = User()
    acceptor = user.acceptor = Acceptor(user, maximum_pdu_bytes=OFFER.maximum_pdu_bytes)
    rng = random.Random(len(data))
    pieces = rng.choice((1, 7, 100, 100, 100, 1 << 18, 1 << 18, 1 << 18))
    said = bytearray()
    try:
        for at in range(0, len(data), pieces):
            acceptor.receive(memoryview(bytearray(data[at : at + pieces])))
            said += acceptor.outgoing
            acceptor.outgoing.clear()
            if acceptor.finished:
                break
    except PduTooLongError:
        outcome = "too long"
    else:
        outcome = acceptor.state.value
    acceptor.connection_closed()
    assert acceptor.state is State.IDLE
    assert user.ended == user.accepted <= 1, "an association ends as often as it began"
    check_said(bytes(said))
    return f"{outcome}, {min(user.answered, 3)} answered"


def check_said(said: bytes) -> None:
    """What goes to a peer must be whole PDUs of types that an acceptor sends (PS3.8 9.3)."""
    for pdu in split(said):
        assert pdu[0] in {2, 3, 4, 6, 7}, "an acceptor never sends that"
        assert len(pdu) == 6 + int.from_bytes(pdu[2:6], "big"), "a PDU is cut off"


def _headers() -> tuple[bytes, ...]:
    plain = ct_slice(rows=4)
    requested = ct_slice(rows=4)
    requested.RequestedProcedurePriority = "STAT"
    item = Dataset()
    item.RequestedProcedurePriority = "HIGH"
    item.RequestedProcedureDescription = "CANARY"
    requested.RequestAttributesSequence = DicomSequence([item, item])
    requested.NumberOfStudyRelatedInstances = "12"
    requested.add_new(0x00091001, "LO", "private")
    syntaxes = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian)
    return tuple(encoded(data_set, syntax) for data_set in (plain, requested) for syntax in syntaxes)


def quoting() -> str:
    raise AssertionError("a message quotes the data set")


def header(data: bytes) -> str:
    """A data set's header, in every way it can be read: only UnreadableHeaderError may be raised."""
    outcomes = []
    for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian):
        try:
            found = peek(io.BytesIO(data), transfer_syntax_uid=syntax)
        except UnreadableHeaderError as exc:
            outcomes.append("-" if "CANARY" not in str(exc) else quoting())
        else:
            outcomes.append("valid" if is_valid_uid(found.sop_instance_uid) else "odd")
    return " ".join(outcomes)


class Walked:
    """The quick way through a header and pydicom's: where the quick one says something, it says the same."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def __call__(self, data: bytes) -> str:
        file = self._store.incoming(b"prefix")
        try:
            file.write(data)
            outcome = "-"
            for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
                quick = self._read(lambda uid=syntax: peek_received(file, transfer_syntax_uid=uid))
                slow = self._read(lambda uid=syntax: peek(io.BytesIO(data), transfer_syntax_uid=uid))
                assert quick == slow or slow is None, f"{quick} is not {slow}"
                outcome = outcome if quick is None else "read"
                early = peek_start(memoryview(data)[: len(data) // 2], transfer_syntax_uid=syntax)
                assert early in {None, quick}, f"{early} of the first half is not {quick}"
        finally:
            file.discard()
        return outcome

    def _read(self, read: Callable[[], InstanceHeader]) -> InstanceHeader | None:
        try:
            return read()
        except UnreadableHeaderError:
            return None


def part_10(data: bytes) -> str:
    """File Meta Information: only NotDicomError may be raised."""
    try:
        meta = read_file_meta(io.BytesIO(data))
    except NotDicomError:
        return "not DICOM"
    return f"{min(len(meta), 3)} elements"


def _part_10_file(transfer_syntax: UID) -> bytes:
    data_set = ct_slice(rows=4)
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = transfer_syntax
    buffer = io.BytesIO()
    dcmwrite(buffer, data_set, enforce_file_format=True)
    return buffer.getvalue()


class Yaml:
    """A YAML file as the loader reads it: only SourceError and ValidationError may be raised, and each can be told with its line."""

    def __init__(self, path: Path, model: type[Section]) -> None:
        self._path = path
        self._model = model

    def __call__(self, data: bytes) -> str:
        self._path.write_bytes(data)
        try:
            document = read_source(self._path)
        except SourceError:
            return "no YAML"
        try:
            self._model.model_validate(document.value)
        except ValidationError as exc:
            mistakes = mistakes_of(document, self._model, exc)
            lines = data.count(b"\n") + data.count(b"\r") + 1
            return f"{min(len(mistakes), 3)} mistakes" if all(1 <= found.line <= lines for found in mistakes) else no_such_line()
        return "good"


def no_such_line() -> str:
    raise AssertionError("a mistake is told with a line that the file has not")


def pem(data: bytes) -> str:
    """Dates of certificates and lists: only UnreadableCertificateError may be raised."""
    found = 0
    for read in (expires_at, next_update_at):
        with contextlib.suppress(UnreadableCertificateError):
            read(data)
            found += 1
    return f"{found} dates"


def _examples() -> tuple[bytes, ...]:
    return tuple(path.read_bytes() for path in sorted((PROJECT / "deploy").rglob("node.yaml")))


def _shipped(kind: str, *names: str) -> tuple[bytes, ...]:
    return tuple((PROJECT / "config" / kind / f"{name}.yaml").read_bytes() for name in names)


@contextmanager
def targets(folder: Path) -> Iterator[Sequence[Target]]:
    """Yield everything that is fuzzed; what runs meanwhile is stopped afterwards."""
    authority = Authority(folder / "authority")
    talk = conversations()
    identity = authority.issue("node")
    dated = (identity.certificate.read_bytes(), authority.revocation_list().read_bytes(), authority.certificate.read_bytes())
    tls = {"certificate": identity.certificate, "key": identity.key, "trusted_certificates": authority.certificate}
    headers = _headers()
    own = TlsSection(trusted_certificates=authority.certificate, certificate=identity.certificate, key=identity.key)
    with (
        SocketTarget(folder / "plain") as plain,
        SocketTarget(folder / "secured", tls=tls) as secured,
        SocketTarget(folder / "within", client=client_context(own), tls=tls) as within,
    ):
        yield (
            Target(name="upper layer", corpus=talk, run=upper_layer, make=Mutator.conversation, share=0.36, short=3000),
            Target(name="listener", corpus=talk, run=plain.say, make=Mutator.conversation, share=0.1, short=300),
            Target(name="listener, TLS", corpus=client_hellos(), run=secured.say, share=0.03, short=100),
            Target(name="listener, within TLS", corpus=talk, run=within.say, make=Mutator.conversation, share=0.03, short=60),
            Target(name="data-set header", corpus=headers, run=header, share=0.16, short=1000),
            Target(name="header, two ways", corpus=headers, run=Walked(ObjectStore(folder / "walked")), share=0.15, short=700),
            Target(
                name="Part 10",
                corpus=tuple(_part_10_file(syntax) for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian)),
                run=part_10,
                share=0.06,
                short=500,
            ),
            Target(name="pixel data", corpus=pixels.corpus(), run=pixels.read, make=pixels.make, share=0.04, short=150),
            Target(name="PEM dates", corpus=dated, run=pem, share=0.02, short=500),
            Target(name="settings", corpus=_examples(), run=Yaml(folder / "node.yaml", Settings), share=0.03, short=300),
            Target(
                name="prompt set",
                corpus=_shipped("prompts", "image-quality", "kind-of-image"),
                run=Yaml(folder / "prompts.yaml", PromptSet),
                share=0.01,
                short=50,
            ),
            Target(
                name="manifest",
                corpus=_shipped("models", "gatekeeper"),
                run=Yaml(folder / "model.yaml", ModelManifest),
                share=0.01,
                short=50,
            ),
        )


def client_hellos() -> tuple[bytes, ...]:
    """Return what TLS clients begin with."""
    found = []
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = context.maximum_version = version
        said = ssl.MemoryBIO()
        connection = context.wrap_bio(ssl.MemoryBIO(), said, server_hostname="localhost")
        with contextlib.suppress(ssl.SSLWantReadError):
            connection.do_handshake()
        found.append(said.read())
    return tuple(found)
