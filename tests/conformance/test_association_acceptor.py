"""How associations are negotiated, and what a peer gets that does not keep to the Standard."""

import struct
from pathlib import Path

import pytest
import structlog
from pydicom.uid import generate_uid

from dicom_node.receiving.capabilities import STORED_SOP_CLASSES
from tests.associating import (
    ABORT,
    CT,
    EXPLICIT,
    IMPLICIT,
    REJECT,
    RELEASE_RP,
    RELEASE_RQ,
    VERIFICATION,
    Requestor,
    command_set,
    context,
    data,
    echo,
    item,
    kinds,
    pdu,
    pdv,
    request,
    results,
    store,
    transfer_syntaxes,
    user_information,
    user_items,
)
from tests.receiving import INSTANCE, ct_slice, encoded, receiving, store_once, wait_until

ACCEPT, REJECTED, DATA, RELEASED, ABORTED = 2, 3, 4, 6, 7
SUCCESS = 0x0000
MALFORMED_ITEM = item(0x20, b"\x01\x00\x00\x00", item(0x30, CT.encode()))


def role(uid: str, scu: int, scp: int) -> bytes:
    return item(0x54, struct.pack(">H", len(uid)), uid.encode(), bytes((scu, scp)))


def test_128_presentation_contexts_are_answered_in_order(tmp_path: Path) -> None:
    offered = [context(2 * number + 1, uid) for number, uid in enumerate(STORED_SOP_CLASSES[:128])]
    with receiving(tmp_path) as node, Requestor(node.port) as peer:
        answer = peer.associate(*offered)
        assert answer.kind == ACCEPT
        assert results(answer) == {2 * number + 1: 0 for number in range(128)}


def test_each_context_is_answered_by_itself(tmp_path: Path) -> None:
    with receiving(tmp_path) as node, Requestor(node.port) as peer:
        answer = peer.associate(context(1, CT), context(3, "1.2.3.4"), context(5, CT, "1.2.3.4"), context(255, VERIFICATION, IMPLICIT))
        assert results(answer) == {1: 0, 3: 3, 5: 4, 255: 0}
        assert transfer_syntaxes(answer) == {1: EXPLICIT, 255: IMPLICIT}


def test_an_association_without_any_context_that_we_take_is_accepted_and_useless(tmp_path: Path) -> None:
    with receiving(tmp_path) as node, Requestor(node.port) as peer:
        answer = peer.associate(context(1, "1.2.3.4"))
        assert (answer.kind, results(answer)) == (ACCEPT, {1: 3})
        peer.say(RELEASE_RQ)
        assert kinds(peer.hear_all_until_closed_by_us()) == [RELEASED]


def test_what_we_are_and_what_we_receive_at_once_stands_in_the_answer(tmp_path: Path) -> None:
    with receiving(tmp_path, maximum_pdu_bytes=32768) as node, Requestor(node.port) as peer:
        told = user_items(peer.associate())
        assert told[0x51] == [struct.pack(">L", 32768)]
        assert told[0x52] == [b"2.25.185959532654914935738729857934295525786"]
        assert told[0x55] == [b"DICOM-NODE_0.1"]
        assert set(told) == {0x51, 0x52, 0x55}, "what was not proposed is not answered"


@pytest.mark.parametrize(("proposed", "answered"), [((0, 0), (16, 1)), ((4, 4), (4, 1)), ((1, 1), (1, 1)), ((100, 0), (16, 1))])
def test_an_asynchronous_window_is_answered_with_what_we_allow(
    tmp_path: Path, proposed: tuple[int, int], answered: tuple[int, int]
) -> None:
    with receiving(tmp_path) as node, Requestor(node.port) as peer:
        peer.say(request(user=user_information(item(0x53, struct.pack(">HH", *proposed)))))
        answer = peer.hear()
        assert answer is not None
        assert user_items(answer)[0x53] == [struct.pack(">HH", *answered)]


def test_requests_within_the_window_are_all_answered_under_their_message_ids(tmp_path: Path) -> None:
    uids = [generate_uid() for _ in range(40)]
    with receiving(tmp_path) as node, Requestor(node.port) as peer:
        peer.say(request(user=user_information(item(0x53, struct.pack(">HH", 0, 0)))))
        peer.hear()
        peer.say(*(store(1, uid, encoded(ct_slice(uid)), message_id=number + 1) for number, uid in enumerate(uids)), RELEASE_RQ)
        *answers, released = peer.hear_all_until_closed_by_us()
        assert {answer.responded_to: answer.status for answer in answers} == {number + 1: SUCCESS for number in range(40)}
        assert released.kind == RELEASED
        assert len(node.kept_data_sets()) == 40


@pytest.mark.parametrize(("proposed", "answered", "result"), [((1, 0), (1, 0), 0), ((1, 1), (1, 0), 0), ((0, 1), (0, 0), 1)])
def test_a_requestor_gets_the_role_of_scu_and_never_that_of_scp(
    tmp_path: Path, proposed: tuple[int, int], answered: tuple[int, int], result: int
) -> None:
    with receiving(tmp_path) as node, Requestor(node.port) as peer:
        peer.say(request(user=user_information(role(CT, *proposed), role("1.2.3.4", 1, 1))))
        answer = peer.hear()
        assert answer is not None
        assert user_items(answer)[0x54] == [role(CT, *answered)[4:]]
        assert results(answer)[1] == result


def test_a_user_identity_is_neither_checked_nor_answered_nor_logged(tmp_path: Path) -> None:
    identity = item(0x58, b"\x02\x01", struct.pack(">H", 6), b"CANARY", struct.pack(">H", 8), b"CANARY-2")
    with structlog.testing.capture_logs() as logged, receiving(tmp_path) as node, Requestor(node.port) as peer:
        peer.say(request(user=user_information(identity)))
        answer = peer.hear()
        assert answer is not None
        assert answer.kind == ACCEPT
        assert 0x59 not in user_items(answer)
    assert "CANARY" not in str(logged)


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (request(version=2), (1, 2, 2)),
        (request(application=b"1.2.3"), (1, 1, 2)),
        (request(called=b"SOMEBODY"), (1, 1, 7)),
        (request(calling=b"STRANGER"), (1, 1, 3)),
    ],
    ids=["protocol version", "application context", "called AE title", "calling AE title"],
)
def test_a_request_is_rejected_with_the_standards_reason(tmp_path: Path, asked: bytes, answer: tuple[int, int, int]) -> None:
    with structlog.testing.capture_logs() as logged, receiving(tmp_path) as node, Requestor(node.port) as peer:
        peer.say(asked)
        rejected = peer.hear()
        assert rejected is not None
        assert (rejected.kind, tuple(rejected.body[1:])) == (REJECTED, answer)
    assert [entry["event"] for entry in logged].count("association_rejected") == 1


def test_later_versions_of_the_protocol_are_welcome_too(tmp_path: Path) -> None:
    with receiving(tmp_path) as node, Requestor(node.port) as peer:
        peer.say(request(version=0xFFFF))
        answer = peer.hear()
        assert answer is not None
        assert answer.kind == ACCEPT


@pytest.mark.parametrize(
    "hostile",
    [
        pdu(1, b"too short"),
        pdu(1),
        request(MALFORMED_ITEM),
        request(context(2, CT)),
        request(context(1, CT), context(1, CT)),
        request(context(1, CT, "1." + "2" * 80)),
        request(user=item(0x50, b"\x51\x00\xff\xff\x00")),
        request(user=b""),
        request(user=item(0x50, item(0x51, b"\x00"))),
        request(user=user_information(item(0x58, b"\x01\x00\xff\xffx"))),
        request(user=user_information(item(0x54, b"\x00\x99" + b"1.2"))),
        pdu(9, b"what is that"),
        pdu(5, b"a release of another length"),
        b"GET / HTTP/1.1\r\nHost: node\r\n\r\n",
        RELEASE_RQ,
        RELEASE_RP,
        REJECT,
        data(1, command_set(0x30, has_data=False), command=True),
    ],
)
def test_what_is_no_association_request_is_aborted_and_others_are_served(tmp_path: Path, hostile: bytes) -> None:
    with receiving(tmp_path) as node:
        with Requestor(node.port) as peer:
            peer.say(hostile)
            answer = peer.hear()
            assert answer is None or answer.kind == ABORTED
        assert store_once(node, encoded(ct_slice()))[0] == SUCCESS


@pytest.mark.parametrize(
    "hostile",
    [
        request(),
        pdu(2, bytes(68)),
        REJECT,
        RELEASE_RP,
        pdu(8),
        pdu(4),
        pdu(4, b"\x00\x00\x00\x01\x01"),
        pdu(4, struct.pack(">LBB", 1, 1, 3)),
        pdu(4, struct.pack(">LBB", 0xFFFFFFFF, 1, 3) + bytes(100)),
        pdu(4, pdv(1, b"x", command=True, last=False), b"left"),
        data(99, command_set(0x30, has_data=False), command=True),
        data(1, b"data before a command", command=False),
        data(1, b"\x00\x00\x00\x00\xff\xff\xff\xffx", command=True),
        data(1, bytes(20000), command=True, last=False),
        data(1, command_set(1, has_data=True), command=True) + data(1, command_set(1, has_data=True), command=True),
        data(1, command_set(1, instance=INSTANCE, has_data=True), command=True) + data(3, b"in another context", command=False),
        data(1, command_set(1, has_data=False)[:-12], command=True),
    ],
)
def test_what_may_not_come_in_an_association_aborts_it_and_leaves_nothing(tmp_path: Path, hostile: bytes) -> None:
    with receiving(tmp_path) as node:
        with Requestor(node.port) as peer:
            peer.associate()
            peer.say(hostile)
            assert kinds(peer.hear_all_until_closed_by_us()) == [ABORTED]
        wait_until(lambda: node.files("") == [])
        assert store_once(node, encoded(ct_slice()))[0] == SUCCESS


def test_a_peers_abort_is_answered_by_closing(tmp_path: Path) -> None:
    with receiving(tmp_path) as node, Requestor(node.port) as peer:
        peer.associate()
        peer.say(ABORT)
        assert peer.hear() is None


@pytest.mark.parametrize("piece", [1, 7])
def test_a_conversation_is_the_same_however_small_the_pieces_in_which_it_comes(tmp_path: Path, piece: int) -> None:
    sent = encoded(ct_slice())
    with receiving(tmp_path) as node, Requestor(node.port) as peer:
        peer.say(request(), piece=piece)
        assert peer.hear() is not None
        peer.say(echo(), store(1, INSTANCE, sent, piece=5), RELEASE_RQ, piece=piece)
        echoed, stored, released = peer.hear_all_until_closed_by_us()
        assert (echoed.status, stored.status, released.kind) == (SUCCESS, SUCCESS, RELEASED)
        assert node.kept_data_sets() == {f"{INSTANCE}/1": sent}


def test_command_and_data_set_may_share_one_pdu_and_empty_fragments_are_harmless(tmp_path: Path) -> None:
    sent = encoded(ct_slice())
    command = command_set(1, instance=INSTANCE, has_data=True)
    with receiving(tmp_path) as node, Requestor(node.port) as peer:
        peer.associate()
        peer.say(
            pdu(
                4,
                pdv(1, command[:10], command=True, last=False),
                pdv(1, b"", command=True, last=False),
                pdv(1, command[10:], command=True),
                pdv(1, sent[:1], command=False, last=False),
                pdv(1, sent[1:], command=False, last=False),
                pdv(1, b"", command=False),
            )
        )
        answer = peer.hear()
        assert answer is not None
        assert answer.status == SUCCESS
        assert node.kept_data_sets() == {f"{INSTANCE}/1": sent}


def test_a_service_that_is_not_offered_is_answered_as_unrecognised_and_the_association_goes_on(tmp_path: Path) -> None:
    find = data(1, command_set(0x20, has_data=True), command=True) + data(1, b"an identifier", command=False)
    with receiving(tmp_path) as node, Requestor(node.port) as peer:
        peer.associate()
        peer.say(find, data(1, command_set(0x0FFF, has_data=False), command=True), echo(message_id=7))
        found, echoed = peer.hear(), peer.hear()
        assert found is not None
        assert echoed is not None
        assert (found.status, echoed.status, echoed.responded_to) == (0x0211, SUCCESS, 7)


def test_a_store_request_without_data_set_is_refused(tmp_path: Path) -> None:
    with receiving(tmp_path) as node, Requestor(node.port) as peer:
        peer.associate()
        peer.say(data(1, command_set(1, instance=INSTANCE, has_data=False), command=True))
        answer = peer.hear()
        assert answer is not None
        assert answer.status == 0xC000


def test_answers_are_cut_to_the_length_that_the_peer_takes(tmp_path: Path) -> None:
    with receiving(tmp_path) as node, Requestor(node.port) as peer:
        peer.say(request(user=user_information(longest=32)))
        peer.hear()
        peer.say(echo())
        pieces = [peer.hear()]
        while pieces[-1] is not None and not pieces[-1].body[5] & 2:
            pieces.append(peer.hear())
        assert len(pieces) > 1
        assert all(piece is not None and len(piece.body) <= 32 for piece in pieces)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\x01",
        request()[:-1],
        request() + b"\x04\x00\x00\x00",
        request() + echo()[:-3],
        request() + store(1, INSTANCE, bytes(9000))[:-9],
    ],
    ids=["nothing", "one byte", "most of a request", "a header", "most of a command", "most of a data set"],
)
def test_a_peer_that_falls_silent_is_let_go_in_every_state(tmp_path: Path, said: bytes) -> None:
    with receiving(tmp_path, network_timeout_s=0.4) as node:
        with Requestor(node.port) as peer:
            peer.say(said)
            wait_until(lambda: peer.hear() is None)
        wait_until(lambda: node.files("") == [])


def test_a_peer_that_sends_a_request_byte_by_byte_for_ever_is_let_go(tmp_path: Path) -> None:
    with receiving(tmp_path, network_timeout_s=0.4) as node, Requestor(node.port) as peer:

        def is_let_go() -> bool:
            try:
                peer.say(b"\x01")
            except OSError:
                return True
            return False

        peer.say(b"\x01\x00\x00\x01\x00\x00")
        wait_until(is_let_go)


def test_a_peer_that_does_not_read_its_answers_is_let_go(tmp_path: Path) -> None:
    with receiving(tmp_path, network_timeout_s=0.4) as node, Requestor(node.port, timeout_s=0.5) as peer:
        peer.associate()

        def is_let_go() -> bool:
            try:
                peer.say(echo() * 2000)
            except TimeoutError:
                return False
            except OSError:
                return True
            return False

        wait_until(is_let_go, timeout_s=30)
        assert store_once(node, encoded(ct_slice()))[0] == SUCCESS


def test_500_idle_associations_hold_nobody_up(tmp_path: Path) -> None:
    with receiving(tmp_path, maximum_associations=600) as node:
        idle = [Requestor(node.port) for _ in range(500)]
        try:
            assert {peer.associate().kind for peer in idle} == {ACCEPT}
            for question in (store(1, INSTANCE, encoded(ct_slice())), echo()):
                idle[250].say(question)
                answer = idle[250].hear()
                assert answer is not None
                assert answer.status == SUCCESS
            assert len(node.kept_data_sets()) == 1
        finally:
            for peer in idle:
                peer.socket.close()
