"""A small archive that stands in for a PACS: a Storage SCP that keeps what it gets and remembers when."""

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self, cast

import structlog
from pynetdicom import AE, AllStoragePresentationContexts, VerificationPresentationContexts, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.transport import ThreadedAssociationServer

from dicom_node.delivery import utc_now

SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedObject:
    """One SOP Instance in the archive: the Part 10 file at `path` (absolute) is the first that came under its UID.

    `times_received` counts the resends too; `received_at` is when the first was written, before it was answered.
    """

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    calling_ae_title: str
    received_at: datetime
    times_received: int = 1


class Archive:
    """A Storage and Verification SCP while its `with` block runs: every storage SOP class, uncompressed.

    Anybody may store and nothing is fsynced: for demonstrations and tests only.
    """

    def __init__(
        self,
        folder: Path,
        *,
        ae_title: str = "ARCHIVE",
        host: str = "127.0.0.1",
        port: int = 0,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.ae_title = ae_title
        self.host = host
        self._port = port
        self._folder = folder
        self._clock = clock
        self._objects: dict[str, ArchivedObject] = {}
        self._changed = threading.Condition()
        self._log = structlog.get_logger().bind(archive=ae_title)

    @property
    def port(self) -> int:
        """TCP port; the one that the system chose once started, if it was 0."""
        return self._port

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        entity = AE(ae_title=self.ae_title)
        for context in (*AllStoragePresentationContexts, *VerificationPresentationContexts):
            entity.add_supported_context(context.abstract_syntax or "")  # uncompressed only: pynetdicom copies them all each time
        server = entity.start_server(
            (self.host, self._port), block=False, evt_handlers=[(evt.EVT_C_STORE, self._on_c_store), (evt.EVT_C_ECHO, _on_c_echo)]
        )
        self._server = cast("ThreadedAssociationServer", server)  # None only where it blocks
        self._port = self._server.server_address[1]
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()

    def received(self) -> tuple[ArchivedObject, ...]:
        """Return what is in the archive, in the order in which it came."""
        with self._changed:
            return tuple(self._objects.values())

    def wait_for(self, enough: Callable[[tuple[ArchivedObject, ...]], bool], *, timeout_s: float) -> bool:
        """Return True as soon as `enough(received())` is, False if it is not within `timeout_s` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: enough(tuple(self._objects.values())), timeout=timeout_s)

    def _on_c_store(self, event: evt.Event) -> int:
        request = cast("C_STORE", event.request)
        uid = str(request.AffectedSOPInstanceUID)
        path = self._folder / f"{hashlib.sha256(uid.encode()).hexdigest()}.dcm"  # never a path from a peer's string
        try:
            if not path.exists():
                temporary = path.with_suffix(f".{threading.get_ident()}.part")
                temporary.write_bytes(event.encoded_dataset())
                temporary.rename(path)
        except OSError as exc:
            self._log.error("object_not_archived", sop_instance_uid=uid, reason=type(exc).__name__)
            return OUT_OF_RESOURCES
        self._remember(uid, str(request.AffectedSOPClassUID), event.assoc.requestor.ae_title, path)
        return SUCCESS

    def _remember(self, uid: str, sop_class_uid: str, calling_ae_title: str, path: Path) -> None:
        with self._changed:
            known = self._objects.get(uid)
            self._objects[uid] = (
                replace(known, times_received=known.times_received + 1)
                if known
                else ArchivedObject(
                    path=path,
                    sop_class_uid=sop_class_uid,
                    sop_instance_uid=uid,
                    calling_ae_title=calling_ae_title.strip(),
                    received_at=self._clock(),
                )
            )
            self._changed.notify_all()
        self._log.info("object_archived", sop_instance_uid=uid, sop_class_uid=sop_class_uid)


def _on_c_echo(_event: evt.Event) -> int:
    return SUCCESS
