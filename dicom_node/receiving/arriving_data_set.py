"""The data set of one C-STORE request while it arrives, and what is answered to it."""

import enum
from collections.abc import Callable
from dataclasses import dataclass

from dicom_node.keeping.incoming_file import IncomingFile
from dicom_node.keeping.object_store import NamedFile
from dicom_node.receiving.instance_header import InstanceHeader, peek_start
from dicom_node.study import Arrival, ReceivedInstance

_SPACE_CHECKED_EVERY_BYTES = 1 << 20
_HEADER_BYTES = 1 << 14  # looked at while the rest arrives; it holds nearly every header, and a look takes no millisecond


class Status(enum.IntEnum):
    """Every status that a C-STORE is answered with (PS3.4 Table B.2-1, PS3.7 Annex C)."""

    SUCCESS = 0x0000
    PROCESSING_FAILURE = 0x0110
    OUT_OF_RESOURCES = 0xA700
    DATA_SET_DOES_NOT_MATCH = 0xA900
    CANNOT_UNDERSTAND = 0xC000


class RefusedError(Exception):
    """An instance is not taken. The message becomes the Error Comment: at most 64 characters, nothing from the data set."""

    def __init__(self, status: Status, comment: str) -> None:
        super().__init__(comment)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreRequest:
    """What a C-STORE request says before its data set: the command set and the presentation context. Nothing is checked yet."""

    sop_class_uid: str
    sop_instance_uid: str
    abstract_syntax_uid: str
    transfer_syntax_uid: str
    calling_ae_title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of a request. `instance` is set if and only if `status` is SUCCESS; `comment` holds no patient data."""

    status: Status
    comment: str = ""
    instance: ReceivedInstance | None = None
    recorded: str = ""


class ArrivingDataSet:
    """The data set of one request, on its way into a temporary file of the store, and what becomes of it.

    After the first failure the rest of the bytes is thrown away, and `file` raises that failure: so the peer is answered
    with a status instead of an abort, and a full disk is not filled further.

    `header` is what the first piece of it says, None if that needs a second look; `named`, `arrival` and `may_be_known` say something
    once it is taken. `answer` is there as soon as the peer may be told, `recorded` True once the ledger was told and has decided.
    """

    def __init__(
        self,
        request: StoreRequest,
        open_file: Callable[[], IncomingFile],
        check_space: Callable[[], None],
        *,
        maximum_bytes: int | None = None,
    ) -> None:
        self.request = request
        self.size_bytes = 0
        self.header: InstanceHeader | None = None
        self.named: NamedFile | None = None
        self.arrival: Arrival | None = None
        self.may_be_known = True
        self.synchronised = self.recorded = False
        self.answer: Answer | None = None
        self._maximum_bytes = maximum_bytes
        self._check_space = check_space
        self._look_again_at = self._next_look()
        self._file: IncomingFile | None = None
        self._failure: Exception | None = None
        try:
            check_space()
            self._file = open_file()
        except (OSError, RefusedError) as exc:
            self._failure = exc

    @property
    def owes_row(self) -> bool:
        """True while the ledger is to be told of it."""
        refused = self.answer is not None and self.answer.instance is None
        return self.arrival is not None and not self.recorded and not refused

    def write(self, data: memoryview, /) -> None:
        """Append a piece, which the caller may overwrite afterwards."""
        if self.size_bytes == 0:
            self.header = peek_start(data[:_HEADER_BYTES], transfer_syntax_uid=self.request.transfer_syntax_uid)
        self.size_bytes += len(data)
        if self._file is not None and self._failure is None:
            try:
                if self.size_bytes >= self._look_again_at:
                    self._look_again()
                self._file.write(data)
            except (OSError, RefusedError) as exc:
                self._fail(exc)

    def end(self) -> None:
        """Say that all has come: the disk begins to write it, and nobody waits for that."""
        if self._file is not None and self._failure is None:
            try:
                self._file.flush()
                self._file.start_writing()
            except OSError as exc:
                self._fail(exc)

    def _look_again(self) -> None:
        if self._maximum_bytes is not None and self.size_bytes > self._maximum_bytes:
            raise RefusedError(Status.OUT_OF_RESOURCES, "the object is larger than this peer may send")
        self._check_space()
        self._look_again_at = self._next_look()

    def _next_look(self) -> int:
        at = self.size_bytes + _SPACE_CHECKED_EVERY_BYTES
        return at if self._maximum_bytes is None else min(at, self._maximum_bytes + 1)

    def _fail(self, failure: Exception) -> None:
        self._failure = failure
        self.discard()

    def file(self) -> IncomingFile:
        """Return the file with everything that was written. Raises what went wrong while it arrived."""
        if self._file is None or self._failure is not None:
            raise self._failure or RefusedError(Status.PROCESSING_FAILURE, "the data set was not received")
        return self._file

    def discard(self) -> None:
        """Remove the temporary file, if there is one left."""
        if self._file is not None:
            self._file.discard()
