"""A modality emulator: sends files by C-STORE exactly as they lie on disk, and accounts for each of them."""

import socket
import ssl
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import _config, evt
from pynetdicom.association import Association
from pynetdicom.presentation import build_context

from config.tls import TlsSection
from dicom_node.entity import keep_answers, own_entity, register_retired_sop_classes, rejection
from dicom_node.keeping.part10 import NotDicomError, preamble_and_file_meta, read_file_meta
from dicom_node.receiving.header_peek import peek
from dicom_node.receiving.instance_header import InstanceHeader, UnreadableHeaderError
from dicom_node.tls.contexts import DICOM, client_context

_SUCCESS = 0x0000
_MAXIMUM_CONTEXTS = 128  # PS3.8 Table 9-18: odd identifiers from 1 to 255
_MESSAGE_IDS = 65536
_TIMEOUT_S = 60.0
_COPY_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What became of one file. `status` is the peer's, or None if the file was not sent, for the `reason` given."""

    path: Path
    sop_instance_uid: str
    status: int | None
    reason: str = ""

    @property
    def accepted(self) -> bool:
        return self.status == _SUCCESS


@dataclass(frozen=True, slots=True, kw_only=True)
class _Peer:
    host: str
    port: int
    called: str
    calling: str
    tls: ssl.SSLContext | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sendable:
    path: Path
    on_disk: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


class _NotSendableError(Exception):
    """A file cannot be sent. The message says why, without anything from its content."""


def files_in(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Return the files named, and all files below the folders named, in order."""
    found: list[Path] = []
    for path in paths:
        found.extend(sorted(child for child in path.rglob("*") if child.is_file()) if path.is_dir() else [path])
    return tuple(found)


def send_files(
    paths: Sequence[Path],
    *,
    host: str,
    port: int,
    called: str,
    calling: str,
    associations: int = 1,
    tls: TlsSection | None = None,
    progress: Callable[[Sent], None] | None = None,
) -> tuple[Sent, ...]:
    """Send each file over one of `associations` parallel associations; return what became of each, in the order of `paths`.

    The data set goes out byte for byte, in its own transfer syntax. A file without File Meta Information is sent too, if
    its data set names itself. `progress` is called once for each file, from several threads. Never raises for a file or a
    peer: a file that is not sent is reported with the reason.

    Raises:
        TlsFilesError: a file of `tls` cannot be used; nothing was sent.
    """
    # pynetdicom reads the data set from the file unparsed only under this setting of the whole process.
    _config.STORE_SEND_CHUNKED_DATASET = True
    register_retired_sop_classes()
    context = client_context(tls, protocol=DICOM) if tls is not None else None
    peer = _Peer(host=host, port=port, called=called, calling=calling, tls=context)
    report = progress or (lambda _sent: None)
    results: dict[Path, Sent] = {}

    def record(sent: Sent) -> None:
        results[sent.path] = sent
        report(sent)

    with tempfile.TemporaryDirectory(prefix="dicom-node-send-") as scratch:
        sendable: list[_Sendable] = []
        for number, path in enumerate(dict.fromkeys(paths)):
            try:
                sendable.append(_examine(path, Path(scratch) / str(number)))
            except (_NotSendableError, NotDicomError, UnreadableHeaderError, OSError) as exc:
                reason = exc.strerror if isinstance(exc, OSError) else str(exc)
                record(Sent(path=path, sop_instance_uid="", status=None, reason=reason or type(exc).__name__))
        batches = [group[lane::associations] for group in _by_contexts(sendable) for lane in range(associations)]
        with ThreadPoolExecutor(max_workers=associations) as pool:
            running = [pool.submit(_send_batch, batch, peer, record) for batch in batches]
        for finished in running:
            finished.result()
    return tuple(results[path] for path in paths)


def _send_batch(batch: Sequence[_Sendable], peer: _Peer, record: Callable[[Sent], None]) -> None:
    association: Association | None = None
    for message_id, file in enumerate(batch, start=1):
        if association is None or not association.is_established:
            association = _associate(batch, peer)
        status, reason = _send(association, file, message_id % _MESSAGE_IDS)
        answered = association.acceptor.primitive is not None or rejection(association) is not None
        if not answered and peer.tls is not None and not association.is_established:
            reason = "no association: the peer does not answer, or did not agree on TLS and certificates"
        record(Sent(path=file.path, sop_instance_uid=file.sop_instance_uid, status=status, reason=reason))
    if association is not None and association.is_established:
        association.release()


def _associate(batch: Sequence[_Sendable], peer: _Peer) -> Association:
    entity = own_entity(peer.calling)
    entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = _TIMEOUT_S
    wanted = dict.fromkeys((file.sop_class_uid, file.transfer_syntax_uid) for file in batch)
    contexts = [build_context(sop_class, [syntax]) for sop_class, syntax in wanted]
    handlers: list[Any] = [(evt.EVT_CONN_OPEN, _without_delay)]
    tls = (peer.tls, peer.host) if peer.tls is not None else None
    association = entity.associate(peer.host, peer.port, contexts=contexts, ae_title=peer.called, evt_handlers=handlers, tls_args=tls)
    keep_answers(association)
    return association


def _without_delay(event: evt.Event) -> None:
    # Command set and data set are two writes: Nagle's algorithm would hold the second back for 40 ms, each time.
    connection: Any = event.assoc.dul.socket
    connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _send(association: Association, file: _Sendable, message_id: int) -> tuple[int | None, str]:
    if not association.is_established:
        return None, _why_not_associated(association)
    try:
        answer = association.send_c_store(file.on_disk, msg_id=message_id)
    except ValueError:
        return None, "the peer does not accept this SOP class in this transfer syntax"
    except (AttributeError, RuntimeError, OSError) as exc:
        return None, f"not sent: {type(exc).__name__}"
    if "Status" not in answer:
        return None, "no answer: the peer was silent or aborted"
    return int(answer.Status), str(answer.get("ErrorComment", ""))


def _why_not_associated(association: Association) -> str:
    if (answer := rejection(association)) is not None:
        return f"association rejected: {answer.reason_str}"
    if association.rejected_contexts:
        return "the peer does not accept this SOP class in this transfer syntax"
    return "no association: the peer does not answer or aborted"


def _by_contexts(files: Iterable[_Sendable]) -> Iterator[list[_Sendable]]:
    """Yield groups of files that need no more presentation contexts than one association has."""
    by_context: dict[tuple[str, str], list[_Sendable]] = {}
    for file in files:
        by_context.setdefault((file.sop_class_uid, file.transfer_syntax_uid), []).append(file)
    contexts = list(by_context.values())
    for start in range(0, len(contexts), _MAXIMUM_CONTEXTS):
        yield [file for group in contexts[start : start + _MAXIMUM_CONTEXTS] for file in group]


def _examine(path: Path, scratch: Path) -> _Sendable:
    """Return how to send a file. `scratch` gets a copy under a File Meta Information that fits, if its own does not."""
    with path.open("rb") as file:
        meta = read_file_meta(file)
        start = file.tell()
        syntax = str(meta.get("TransferSyntaxUID", "")) or _guess_transfer_syntax(file)
        header = peek(file, transfer_syntax_uid=syntax)
        for name, uid in (("SOP Class UID", header.sop_class_uid), ("SOP Instance UID", header.sop_instance_uid)):
            if not uid:
                raise _NotSendableError(f"{name} is missing")
        on_disk = path
        named = (meta.get("MediaStorageSOPClassUID"), meta.get("MediaStorageSOPInstanceUID"), meta.get("TransferSyntaxUID"))
        if named != (header.sop_class_uid, header.sop_instance_uid, syntax):
            file.seek(start)
            _copy_with_meta(file, scratch, header, syntax)
            on_disk = scratch
    return _Sendable(
        path=path,
        on_disk=on_disk,
        sop_class_uid=header.sop_class_uid,
        sop_instance_uid=header.sop_instance_uid,
        transfer_syntax_uid=syntax,
    )


def _copy_with_meta(file: BinaryIO, target: Path, header: InstanceHeader, syntax: str) -> None:
    try:
        prefix = preamble_and_file_meta(
            sop_class_uid=header.sop_class_uid,
            sop_instance_uid=header.sop_instance_uid,
            transfer_syntax_uid=syntax,
            sending_ae_title="",
            receiving_ae_title="",
        )
    except UnicodeEncodeError as exc:
        raise _NotSendableError("SOP Class or Instance UID is not text") from exc
    with target.open("wb") as copy:
        copy.write(prefix)
        while chunk := file.read(_COPY_BYTES):
            copy.write(chunk)


def _guess_transfer_syntax(file: BinaryIO) -> str:
    """Return the uncompressed transfer syntax that the first data element is written in; `file` stays where it is."""
    start = file.tell()
    first = file.read(6)
    file.seek(start)
    if first[:1] == b"\x00" and first[1:2] != b"\x00":
        return str(ExplicitVRBigEndian)
    return str(ExplicitVRLittleEndian if first[4:6].isalpha() and first[4:6].isupper() else ImplicitVRLittleEndian)
