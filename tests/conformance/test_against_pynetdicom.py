"""The same recorded conversations with our acceptor and with pynetdicom's: the answers are equal, or PS3.8 says why not."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE, evt

from dicom_node.receiving.capabilities import SUPPORTED_SOP_CLASSES, TRANSFER_SYNTAXES
from tests.associating import (
    ABORT,
    CT,
    EXPLICIT,
    IMPLICIT,
    REJECT,
    RELEASE_RP,
    RELEASE_RQ,
    Pdu,
    Requestor,
    command_set,
    context,
    data,
    echo,
    item,
    pdu,
    pdv,
    request,
    results,
    store,
    transfer_syntaxes,
    user_information,
    user_items,
)
from tests.receiving import INSTANCE, ct_slice, encoded, receiving

SLICE = encoded(ct_slice())
ROLE = item(0x54, b"\x00\x19", CT.encode(), b"\x01\x01")
COMMAND = command_set(1, instance=INSTANCE, has_data=True)

# name -> what is said, turn by turn: after each turn one answer is waited for
CONVERSATIONS: dict[str, tuple[bytes, ...]] = {
    "an association and its release": (request(), RELEASE_RQ),
    "verification": (request(), echo(), RELEASE_RQ),
    "two verifications": (request(), echo(message_id=1), echo(message_id=2), RELEASE_RQ),
    "an instance": (request(), store(1, INSTANCE, SLICE), RELEASE_RQ),
    "an instance in fragments of one byte": (request(), store(1, INSTANCE, SLICE, piece=1), RELEASE_RQ),
    "an instance in Implicit VR": (
        request(context(1, CT, IMPLICIT)),
        store(1, INSTANCE, encoded(ct_slice(), ImplicitVRLittleEndian)),
        RELEASE_RQ,
    ),
    "command and data in one PDU": (request(), pdu(4, pdv(1, COMMAND, command=True), pdv(1, SLICE, command=False)), RELEASE_RQ),
    "syntaxes and classes that are not taken": (request(context(1, CT), context(3, CT, "1.2.3"), context(5, "1.2.3")), RELEASE_RQ),
    "several syntaxes in one context": (request(context(1, CT, IMPLICIT, EXPLICIT), context(3, CT, IMPLICIT)), RELEASE_RQ),
    "no context that is taken": (request(context(1, "1.2.3")), RELEASE_RQ),
    "an unknown caller": (request(calling=b"STRANGER"),),
    "a wrong number": (request(called=b"SOMEBODY"),),
    "an unlimited answer": (request(user=user_information(longest=0)), echo(), RELEASE_RQ),
    "an abort": (request(), ABORT),
    "an abort at once": (ABORT,),
    "an abort in an object": (request(), data(1, COMMAND, command=True) + ABORT),
    "a release at once": (RELEASE_RQ,),
    "data at once": (echo(),),
    "an accept at once": (pdu(2, request()[6:]),),
    "a rejection at once": (REJECT,),
    "a second request": (request(), request()),
    "a rejection in the association": (request(), REJECT),
    "a release response in the association": (request(), RELEASE_RP),
    "an unknown PDU": (request(), pdu(0x55, b"????")),
    "an unknown PDU at once": (pdu(0x55, b"????"),),
    "a context that was not accepted": (request(context(1, CT), context(3, "1.2.3")), echo(3)),
    "an asynchronous window": (request(user=user_information(item(0x53, b"\x00\x05\x00\x05"))), echo(), RELEASE_RQ),
    "roles": (request(user=user_information(ROLE)), echo(), RELEASE_RQ),
    "another version of the protocol": (request(version=2),),
    "another application context": (request(application=b"1.2.3"),),
    "no user information": (request(user=b""),),
}

TABLE_9_26 = "PS3.8 Table 9-26 has a reason for it:"

# conversation -> why the answers differ
EXPLAINED = {
    "an asynchronous window": "PS3.7 D.3.3.3: an acceptor may allow several operations at once; pynetdicom has no window",
    "roles": "PS3.7 D.3.3.4: we say that the requestor is SCU only; pynetdicom says nothing, which means the same",
    "another application context": "PS3.8 Table 9-21: a reason to reject; pynetdicom does not look",
    "no user information": "PS3.8 9.3.2: the item is mandatory, so the PDU is invalid (Evt19); pynetdicom takes it",
    "an unknown PDU": f"{TABLE_9_26} 1, unrecognized PDU; pynetdicom gives none",
    "an unknown PDU at once": "PS3.8 Table 9-10, Evt19 in Sta2: AA-1, an A-ABORT; pynetdicom is silent",
    "a second request": f"{TABLE_9_26} 2, unexpected PDU; pynetdicom gives none",
    "a rejection in the association": f"{TABLE_9_26} 2, unexpected PDU; pynetdicom gives none",
    "a release response in the association": f"{TABLE_9_26} 2, unexpected PDU; pynetdicom gives none",
}


@contextmanager
def pynetdicom_acceptor() -> Iterator[int]:
    """pynetdicom as it is, with what we offer."""
    entity = AE(ae_title="DICOM-NODE")
    entity.require_called_aet = True
    entity.require_calling_aet = ["CT-1"]
    for uid in SUPPORTED_SOP_CLASSES:
        entity.add_supported_context(uid, list(TRANSFER_SYNTAXES))
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, lambda _: 0x0000)])
    assert server is not None
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


def answer(said: Pdu | None) -> tuple[object, ...]:
    """What matters of an answer: not who we are, nor how much we receive at once."""
    if said is None:
        return ("closed",)
    if said.kind == 2:
        told = user_items(said)
        return ("accept", results(said), transfer_syntaxes(said), told.get(0x53), told.get(0x54))
    if said.kind == 3:
        return ("reject", *said.body[1:])
    if said.kind == 7:
        return ("abort", *said.body[2:])
    if said.kind == 4:
        return ("response", said.body[4], said.status, said.responded_to)
    return (said.kind,)


def answers(port: int, conversation: tuple[bytes, ...]) -> list[tuple[object, ...]]:
    heard: list[tuple[object, ...]] = []
    with Requestor(port, timeout_s=3) as peer:
        for turn in conversation:
            peer.say(turn)
            try:
                heard.append(answer(peer.hear()))
            except TimeoutError:
                return [*heard, ("silence",)]
        return heard


@pytest.fixture(scope="module")
def theirs() -> Iterator[int]:
    with pynetdicom_acceptor() as port:
        yield port


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_our_answers_are_pynetdicoms_or_the_standards(name: str, tmp_path: Path, theirs: int) -> None:
    with receiving(tmp_path) as node:
        ours = answers(node.port, CONVERSATIONS[name])
    those_of_pynetdicom = answers(theirs, CONVERSATIONS[name])
    assert (ours == those_of_pynetdicom) != (name in EXPLAINED), f"{ours} and {those_of_pynetdicom}"
