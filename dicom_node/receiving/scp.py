"""The Storage and Verification SCP: the listener, the associations on it and the commits behind them, as one thing to start and stop.

A data set goes to a file while it arrives, so memory does not grow with the object. It is never decoded, never transcoded.
"""

import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime

import structlog

from config.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from config.receiving import ReceiveSection
from dicom_node.keeping.kernel_synchroniser import KernelSynchroniser
from dicom_node.keeping.object_store import ObjectStore
from dicom_node.quiet import keep_libraries_silent
from dicom_node.receiving.capabilities import SUPPORTED_SOP_CLASSES, TRANSFER_SYNTAXES
from dicom_node.receiving.group_commit import GroupCommit
from dicom_node.receiving.peers import Peers, SharedCount
from dicom_node.receiving.reception import InstanceRecorder, Reception
from dicom_node.receiving.storage_session import ReceptionObserver, StorageService, StorageSession, Submission
from dicom_node.tls.contexts import DICOM, following_server_context
from dicom_node.upper_layer.listener import Connection, Listener
from dicom_node.upper_layer.negotiation import Offer

_STOP_GRACE_S = 2.0
_OPERATIONS_AT_ONCE = 16
_BACKLOG = 1024
_RECORDED_TOGETHER = 32
_RECORDED_WITHIN_S = 0.05
_TRY_AGAIN_S = 1.0
_WAITING_CONNECTIONS = 128
_log = structlog.get_logger(__name__)


def listen(settings: ReceiveSection) -> socket.socket:
    """Return a socket that listens where the settings say.

    Raises:
        OSError: the address cannot be bound.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    return socket.create_server((settings.host, settings.port), family=family, backlog=_BACKLOG)


class StorageScp:
    """Listens for associations and keeps what they send."""

    def __init__(
        self,
        *,
        ae_title: str,
        settings: ReceiveSection,
        store: ObjectStore,
        recorder: InstanceRecorder,
        clock: Callable[[], datetime],
        observer: ReceptionObserver | None = None,
        listening: socket.socket | None = None,
        why_wait: Callable[[], str] = lambda: "",
        count: SharedCount | None = None,
    ) -> None:
        """`listening` is a socket that other processes may listen on too; without it, the settings say where.

        `why_wait` says why new associations are to be rejected as transient, "" if they are welcome.
        `count` is shared with other processes that listen.
        """
        self._ae_title = ae_title
        self._settings = settings
        self._reception = Reception(
            ae_title=ae_title,
            store=store,
            recorder=recorder,
            clock=clock,
            reserve_bytes=settings.reserve_mb * 1_000_000,
            urgent_calling_ae_titles=settings.urgent_ae_titles,
        )
        self._peers = Peers(
            ae_title=ae_title,
            settings=settings,
            monotonic=time.monotonic,
            on_refusal=observer.on_rejection if observer is not None else None,
            why_wait=why_wait,
            count=count,
        )
        self._durable: deque[Submission] = deque()
        self._unrecorded: list[Submission] = []
        self._waited_for: set[Submission] = set()
        self._will_settle = self._will_record = False
        self._kernel: KernelSynchroniser | None = None
        self._commit = GroupCommit(self._commit_batch, self._committed)
        self._service = StorageService(
            offer=Offer(
                abstract_syntaxes=SUPPORTED_SOP_CLASSES,
                transfer_syntaxes=TRANSFER_SYNTAXES,
                maximum_pdu_bytes=settings.maximum_pdu_bytes,
                maximum_operations=_OPERATIONS_AT_ONCE,
                implementation_class_uid=IMPLEMENTATION_CLASS_UID,
                implementation_version=IMPLEMENTATION_VERSION_NAME,
            ),
            peers=self._peers,
            reception=self._reception,
            submit=self._submit,
            hurry=self._settle_soon,
            observer=observer,
        )
        self._listening = listening
        self._listener: Listener | None = None
        self._port = 0

    @property
    def port(self) -> int:
        """The TCP port that is listened on, also if 0 was asked for."""
        return self._port

    def start(self) -> None:
        """Listen. Returns at once; associations are served by one thread, commits made by another.

        Raises:
            OSError: the address cannot be bound.
            TlsFilesError: a file of receive.tls cannot be used.
        """
        keep_libraries_silent()
        context = self._tls()
        listening = self._listening or listen(self._settings)
        self._port = int(listening.getsockname()[1])
        self._listener = Listener(
            listening,
            open_session=self._open_session,
            maximum_pdu_bytes=self._settings.maximum_pdu_bytes,
            timeout_s=self._settings.network_timeout_s,
            maximum_waiting=self._settings.maximum_associations + _WAITING_CONNECTIONS,
            may_connect=self._may_connect,
            context=context,
        )
        if self._settings.durability == "power-loss":
            self._kernel = KernelSynchroniser.if_possible()
        if self._kernel is not None:
            self._listener.attend(self._kernel.descriptor, self._kernel.collect)
        self._commit.start()
        self._listener.start()
        _log.info("listening", ae_title=self._ae_title, host=self._settings.host, port=self.port)

    def stop(self) -> None:
        """Stop listening, give open associations two seconds to end, abort the rest."""
        if self._listener is not None:
            self._listener.stop(grace_s=_STOP_GRACE_S)
            self._commit.stop()
            if self._kernel is not None:
                self._kernel.close()
            self._record_rest()
            self._listener.close()
        _log.info("stopped_listening", ae_title=self._ae_title)

    def _open_session(self, connection: Connection) -> StorageSession:
        return StorageSession(connection, self._service)

    def _may_connect(self, address: str) -> bool:
        # Where nobody may associate, everybody is told so.
        return not self._settings.known_ae_titles or self._peers.may_connect(address)

    def _tls(self) -> Callable[[], ssl.SSLContext] | None:
        section = self._settings.tls
        return None if section is None else following_server_context(section, protocol=DICOM).current

    # A data set's way. The listener's thread does all that waits for nothing, so that threads seldom wait for each other.

    def _submit(self, submission: Submission) -> None:
        def ended() -> None:
            self._durable.append(submission)
            self._settle_soon()

        self._reception.prepare(submission.arriving)
        # While the ledger keeps rows waiting, who comes now waits behind them: else there was no end to the rows that are owed.
        if self._waited_for or not self._reception.synchronise_aside(submission.arriving, self._kernel, ended):
            self._commit.submit(submission)

    def _commit_batch(self, batch: Sequence[Submission]) -> None:
        arrived = [submission.arriving for submission in batch]
        waited = [arriving for arriving in arrived if arriving.synchronised]
        self._reception.record(waited, wait=True)
        self._reception.synchronise([arriving for arriving in arrived if not arriving.synchronised])

    def _committed(self, batch: Sequence[Submission]) -> None:
        self._durable.extend(batch)
        self._settle_soon()
        self._reception.tidy()

    def _settle_soon(self) -> None:
        if not self._will_settle:
            self._will_settle = True
            assert self._listener is not None
            self._listener.call(self._settle)

    def _settle(self) -> None:
        """Answer what can be answered, and see to it that what owes a row gets one."""
        self._will_settle = False
        settled = [self._durable.popleft() for _ in range(len(self._durable))]
        self._unrecorded += [submission for submission in settled if submission.arriving.owes_row]
        for submission in settled:
            was_waited_for = submission in self._waited_for
            self._waited_for.discard(submission)
            submission.session.answer(submission)
            if was_waited_for or not submission.arriving.owes_row:
                submission.session.finish(submission)
        if self._is_urgent():
            self._record()
        elif self._unrecorded and not self._will_record:
            self._will_record = True
            assert self._listener is not None
            self._listener.call_later(_TRY_AGAIN_S if self._reception.behind else _RECORDED_WITHIN_S, self._record_at_last)

    def _is_urgent(self) -> bool:
        if any(not submission.answered for submission in self._unrecorded):
            return True
        several = len(self._unrecorded) >= _RECORDED_TOGETHER or any(submission.session.releasing for submission in self._unrecorded)
        return several and not self._reception.behind

    def _record_at_last(self) -> None:
        self._will_record = False
        self._record()

    def _record(self) -> None:
        """Record what owes a row; what has to be waited for goes to the other thread, and comes back through `_settle`."""
        batch, self._unrecorded = self._unrecorded, []
        self._reception.record([submission.arriving for submission in batch], wait=False)
        for submission in batch:
            submission.session.answer(submission)
            if submission.arriving.owes_row:
                self._waited_for.add(submission)
                self._commit.submit(submission)
            else:
                submission.session.finish(submission)

    def _record_rest(self) -> None:
        """Once both threads have ended. What even now gets no row gets it from the next start-up scan."""
        rest = [*self._unrecorded, *self._durable]
        self._unrecorded.clear()
        self._durable.clear()
        self._reception.record([submission.arriving for submission in rest], wait=True)
        for submission in rest:
            submission.session.answer(submission)
