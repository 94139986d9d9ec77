"""Any PDUs in any order and in any pieces, against the acceptor: Hypothesis looks for an order that breaks a promise."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from pynetdicom.pdu import A_ABORT_RQ, A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_RELEASE_RP, P_DATA_TF

from dicom_node.upper_layer.acceptor import Acceptor, PduTooLongError
from dicom_node.upper_layer.machine import State
from tests.fuzz.mutation import split
from tests.fuzz.targets import OFFER, User, conversations

PDUS = sorted({pdu for conversation in conversations() for pdu in split(conversation)})
REQUESTS, DATA = [pdu for pdu in PDUS if pdu[0] == 1], [pdu for pdu in PDUS if pdu[0] == 4]
RELEASE, ABORT = b"\x05\x00\x00\x00\x00\x04" + bytes(4), b"\x07\x00\x00\x00\x00\x04" + bytes(4)
NEVER_SENT_TO_AN_ACCEPTOR = [bytes((kind, 0, 0, 0, 0, 4)) + bytes(4) for kind in (2, 3, 6)]
ANSWERS = {2: A_ASSOCIATE_AC, 3: A_ASSOCIATE_RJ, 4: P_DATA_TF, 6: A_RELEASE_RP, 7: A_ABORT_RQ}


class Conversation(RuleBasedStateMachine):
    """A peer that may say anything; the invariants are what the node promises whatever it says."""

    @initialize()
    def begin(self) -> None:
        self.connect()

    def connect(self) -> None:
        self.user = User()
        self.acceptor = self.user.acceptor = Acceptor(self.user, maximum_pdu_bytes=OFFER.maximum_pdu_bytes)
        self.said = bytearray()

    @precondition(lambda self: self.acceptor.finished)
    @rule()
    def connect_again(self) -> None:
        self.connect()

    def tell(self, data: bytes, pieces: int) -> None:
        try:
            for at in range(0, len(data), pieces):
                self.acceptor.receive(memoryview(data[at : at + pieces]))
                if self.acceptor.finished:
                    break
        except PduTooLongError:
            self.acceptor.connection_closed()
        self.said += self.acceptor.outgoing
        self.acceptor.outgoing.clear()

    @precondition(lambda self: not self.acceptor.finished)
    @rule(pdu=st.sampled_from(REQUESTS), pieces=st.integers(1, 300))
    def request(self, pdu: bytes, pieces: int) -> None:
        self.tell(pdu, pieces)

    @precondition(lambda self: not self.acceptor.finished)
    @rule(pdu=st.sampled_from(DATA), pieces=st.integers(1, 300))
    def data(self, pdu: bytes, pieces: int) -> None:
        self.tell(pdu, pieces)

    @precondition(lambda self: not self.acceptor.finished)
    @rule(pdu=st.sampled_from([RELEASE, ABORT, *NEVER_SENT_TO_AN_ACCEPTOR]), pieces=st.integers(1, 10))
    def short(self, pdu: bytes, pieces: int) -> None:
        self.tell(pdu, pieces)

    @precondition(lambda self: not self.acceptor.finished)
    @rule(noise=st.binary(min_size=1, max_size=40))
    def noise(self, noise: bytes) -> None:
        self.tell(noise, len(noise))

    @precondition(lambda self: not self.acceptor.finished)
    @rule()
    def wait(self) -> None:
        self.acceptor.timer_expired()

    @precondition(lambda self: not self.acceptor.finished)
    @rule()
    def hang_up(self) -> None:
        self.acceptor.connection_closed()

    @invariant()
    def what_is_said_is_pdus_that_another_toolkit_reads(self) -> None:
        for pdu in split(bytes(self.said)):
            ANSWERS[pdu[0]]().decode(pdu)
        self.said.clear()

    @invariant()
    def an_association_ends_as_often_as_it_began(self) -> None:
        over = self.acceptor.state in {State.IDLE, State.AWAITING_CLOSE}
        assert self.user.accepted <= 1
        assert self.user.ended == (self.user.accepted if over else 0)
        assert self.acceptor.associated == (self.user.accepted == 1 and not over)

    @invariant()
    def somebody_waits_for_the_end_of_it_or_it_is_open(self) -> None:
        waits = {State.AWAITING_REQUEST, State.AWAITING_CLOSE}
        assert self.acceptor.timer_runs == (self.acceptor.state in waits) or self.acceptor.finished


TestConversation = Conversation.TestCase
TestConversation.settings = settings(
    max_examples=80, stateful_step_count=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
