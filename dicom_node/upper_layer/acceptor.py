"""One connection as its acceptor sees it: bytes in, indications and bytes out. No sockets, no clock.

Data are handed on as they come, in pieces of what was received, so nothing is held but the start of a PDU that decides what it is.
"""

from typing import Protocol

from dicom_node.upper_layer import pdus
from dicom_node.upper_layer.machine import Action, Event, State, transition
from dicom_node.upper_layer.pdus import AssociateAccept, AssociateReject, AssociateRequest, InvalidPduError

LONGEST_NEGOTIATION_BYTES = 1 << 20
"""An A-ASSOCIATE-RQ has no agreed length; 128 contexts with 60 syntaxes each take 200 kB."""

_COMMAND, _LAST = 0x01, 0x02
_PROVIDER, _USER = 2, 0
_NOT_SPECIFIED, _UNRECOGNIZED_PDU, _UNEXPECTED_PDU, _INVALID_PARAMETER = 0, 1, 2, 6
_SHORT = {Event.REJECT_PDU, Event.RELEASE_REQUEST_PDU, Event.RELEASE_RESPONSE_PDU, Event.ABORT_PDU}
_SHORT_BYTES = 4

_EVENTS = {
    pdus.ASSOCIATE_RQ: Event.REQUEST_PDU,
    pdus.ASSOCIATE_AC: Event.ACCEPT_PDU,
    pdus.ASSOCIATE_RJ: Event.REJECT_PDU,
    pdus.P_DATA_TF: Event.DATA_PDU,
    pdus.RELEASE_RQ: Event.RELEASE_REQUEST_PDU,
    pdus.RELEASE_RP: Event.RELEASE_RESPONSE_PDU,
    pdus.ABORT: Event.ABORT_PDU,
}


class PduTooLongError(Exception):
    """A PDU announces more than is read from anybody: the connection is closed without a word, whatever the state."""

    def __init__(self, announced_bytes: int, longest_bytes: int) -> None:
        super().__init__(f"a PDU of {announced_bytes} bytes, longer than {longest_bytes}")
        self.announced_bytes = announced_bytes
        self.longest_bytes = longest_bytes


class AssociationUser(Protocol):
    """Is told what happens on an association (the service user of PS3.8)."""

    def on_request(self, request: AssociateRequest) -> AssociateAccept | AssociateReject:
        """Decide about a request."""

    def on_data(self, context_id: int, fragment: memoryview, *, command: bool, last: bool) -> None:
        """Take a piece of a fragment, which is overwritten after the call; `last` with the last piece of a message's last fragment."""

    def on_release(self) -> None:
        """The peer wants to release: `Acceptor.release` must follow once everything is answered."""

    def on_end(self, *, aborted: bool) -> None:
        """The association, once accepted, is no more: nothing can be sent on it."""


class Acceptor:
    """Runs the protocol machine for one connection.

    `outgoing` holds what is to be sent, `finished` is True once the connection is to be closed (after `outgoing`), `timer_runs` while
    ARTIM does, and `pdus_begun` counts the PDUs whose header came.
    """

    __slots__ = (
        "_associated",
        "_collected",
        "_deaf",
        "_longest",
        "_needed",
        "_passing",
        "_pdu",
        "_pdu_left",
        "_pdv",
        "_peer_longest",
        "_user",
        "finished",
        "outgoing",
        "pdus_begun",
        "state",
        "timer_runs",
    )

    def __init__(self, user: AssociationUser, *, maximum_pdu_bytes: int) -> None:
        self._user = user
        self._longest = max(maximum_pdu_bytes, LONGEST_NEGOTIATION_BYTES)
        self.state = State.IDLE
        self.outgoing = bytearray()
        self.finished = False
        self.timer_runs = False
        self.pdus_begun = 0
        self._associated = False
        self._peer_longest = 0
        self._deaf = False
        self._collected = bytearray()  # of what is needed as a whole
        self._needed = pdus.HEADER.size
        self._passing = 0  # bytes that need not be held: of a presentation data value, or (`_pdv` is None) to be thrown away
        self._pdv: tuple[int, int] | None = None
        self._pdu: Event | None = None
        self._pdu_left = 0
        self._do(Event.CONNECTED)

    @property
    def in_pdu(self) -> bool:
        """True if a PDU has begun and its rest has not come."""
        return bool(self._collected) or self._pdu is not None

    @property
    def associated(self) -> bool:
        """True from the A-ASSOCIATE-AC until the end."""
        return self._associated

    def receive(self, view: memoryview) -> None:
        """Take bytes that came.

        Raises:
            PduTooLongError: close the connection at once.
        """
        at, end = 0, len(view)
        while at < end and not self.finished and not self._deaf:
            if self._passing:
                taken = min(self._passing, end - at)
                self._passing -= taken
                self._pass_on(view[at : at + taken])
                at += taken
                continue
            if end - at >= pdus.HEADERS.size and self._begin_plain_data(view, at):
                at += pdus.HEADERS.size
                continue
            taken = min(self._needed - len(self._collected), end - at)
            if taken == self._needed:
                self._take_all(view[at : at + taken])
            else:
                self._collected += view[at : at + taken]
                if len(self._collected) == self._needed:
                    collected, self._collected = self._collected, bytearray()
                    self._take_all(memoryview(collected))
            at += taken

    def send_data(self, context_id: int, command_set: bytes) -> None:
        """Send a command set without data set."""
        self._do(Event.SEND_DATA)
        self.outgoing += pdus.data(context_id, command_set, command=True, longest=self._peer_longest)

    def release(self) -> None:
        """Answer the release that the peer asked for."""
        self._do(Event.RELEASE_RESPONSE)

    def abort(self) -> None:
        """End the association from our side, if there is one; otherwise the connection."""
        if self.state in {State.ESTABLISHED, State.AWAITING_RELEASE_RESPONSE, State.AWAITING_DECISION}:
            self._do(Event.ABORT)
        elif self.state is not State.IDLE:
            self._do(Event.TIMER_EXPIRED)

    def timer_expired(self) -> None:
        """ARTIM ran out."""
        if self.timer_runs:
            self._do(Event.TIMER_EXPIRED)

    def connection_closed(self) -> None:
        """The peer closed, or the connection broke."""
        if self.state is not State.IDLE:
            self._do(Event.CLOSED)
        self.finished = True

    def _begin_plain_data(self, view: memoryview, at: int) -> bool:
        """Take both headers of a P-DATA-TF that holds one presentation data value, as nearly all do; False for what goes the long way."""
        if self._pdu is not None or self._collected or self.state is not State.ESTABLISHED:
            return False
        kind, length, value_length, context_id, control = pdus.HEADERS.unpack_from(view, at)
        size = value_length - pdus.PDV_OVERHEAD
        if kind != pdus.P_DATA_TF or length != size + pdus.PDV_HEADER.size or size <= 0 or length > self._longest:
            return False
        self.pdus_begun += 1
        self._do(Event.DATA_PDU)
        self._pdu, self._pdu_left = Event.DATA_PDU, 0
        self._pdv, self._passing = (context_id, control), size
        return True

    def _take_all(self, content: memoryview) -> None:
        """Take what was needed as a whole: a PDU header, a PDV header, or the body of a short PDU or of a request."""
        try:
            if self._pdu is None:
                self._begin_pdu(*pdus.HEADER.unpack(content))
            elif self._pdu is Event.DATA_PDU:
                self._begin_pdv(*pdus.PDV_HEADER.unpack(content))
            else:
                event = self._pdu
                self._end_pdu()
                self._decide(content) if event is Event.REQUEST_PDU else self._do(event)
        except InvalidPduError:
            self._invalid(_INVALID_PARAMETER)

    def _begin_pdu(self, kind: int, length: int) -> None:
        self.pdus_begun += 1
        event = _EVENTS.get(kind)
        if event is None:
            self._invalid(_UNRECOGNIZED_PDU)
            return
        if length > self._longest:
            raise PduTooLongError(length, self._longest)
        if event in _SHORT:
            if length != _SHORT_BYTES:
                raise InvalidPduError("a PDU of fixed length has another one")
            self._pdu, self._needed = event, length
        elif event is Event.REQUEST_PDU and self.state is State.AWAITING_REQUEST:
            if length == 0:
                raise InvalidPduError("an empty A-ASSOCIATE-RQ")
            self._pdu, self._needed = event, length
        elif event is Event.DATA_PDU and self.state is State.ESTABLISHED:
            if length < pdus.PDV_HEADER.size:
                raise InvalidPduError("a P-DATA-TF without a presentation data value")
            self._do(event)
            self._pdu, self._pdu_left, self._needed = event, length, pdus.PDV_HEADER.size
        else:
            # What it says does not matter here, only that it came; where it ends does.
            self._do(event)
            self._pdv, self._passing = None, length

    def _begin_pdv(self, length: int, context_id: int, control: int) -> None:
        size = length - pdus.PDV_OVERHEAD
        self._pdu_left -= pdus.PDV_HEADER.size + max(size, 0)
        if size < 0 or self._pdu_left < 0:
            raise InvalidPduError("a presentation data value is longer than its PDU, or has no header")
        if 0 < self._pdu_left < pdus.PDV_HEADER.size:
            raise InvalidPduError("what is left of a P-DATA-TF is no presentation data value")
        self._pdv, self._passing = (context_id, control), size
        if size == 0:
            self._pass_on(memoryview(b""))

    def _pass_on(self, fragment: memoryview) -> None:
        if self._pdv is None:
            return
        context_id, control = self._pdv
        ended = not self._passing
        if ended and not self._pdu_left:
            self._end_pdu()
        if self.state is State.ESTABLISHED:
            self._user.on_data(context_id, fragment, command=bool(control & _COMMAND), last=ended and bool(control & _LAST))

    def _end_pdu(self) -> None:
        self._pdu, self._pdv, self._needed = None, None, pdus.HEADER.size

    def _decide(self, body: memoryview) -> None:
        request = pdus.decode_associate_request(body)
        self._do(Event.REQUEST_PDU)
        answer = self._user.on_request(request)
        if isinstance(answer, AssociateAccept):
            self._peer_longest = request.maximum_length
            self._do(Event.ACCEPT)
            self._associated = True
        else:
            self._do(Event.REJECT)
        self.outgoing += answer.encode()

    def _invalid(self, reason: int) -> None:
        """Evt19. Where the next PDU begins is unknown, so nothing more is read."""
        self._do(Event.INVALID_PDU, reason)
        self._deaf = True

    def _do(self, event: Event, reason: int = _UNEXPECTED_PDU) -> None:
        action, self.state = transition(self.state, event)
        if action is Action.DT_2:
            return
        if action in _STARTS_TIMER:
            self.timer_runs = True
        elif action in _STOPS_TIMER:
            self.timer_runs = False
        if action is Action.AR_4:
            self.outgoing += pdus.RELEASE_RESPONSE
        elif action is Action.AA_1:
            self.outgoing += pdus.abort(source=_USER, reason=_NOT_SPECIFIED)
        elif action in {Action.AA_7, Action.AA_8}:
            self.outgoing += pdus.abort(source=_PROVIDER, reason=reason)
        elif action is Action.AR_2:
            self._user.on_release()
        elif action in _ENDS:
            self.finished = True
        if self._associated and self.state in {State.IDLE, State.AWAITING_CLOSE}:
            self._associated = False
            self._user.on_end(aborted=action is not Action.AR_4)


_STARTS_TIMER = {Action.AE_5, Action.AE_8, Action.AR_4, Action.AA_1, Action.AA_8}
_STOPS_TIMER = {Action.AE_6, Action.AR_5, Action.AA_2, Action.AA_3, Action.AA_4, Action.AA_5}
_ENDS = {Action.AR_5, Action.AA_2, Action.AA_3, Action.AA_4, Action.AA_5}
