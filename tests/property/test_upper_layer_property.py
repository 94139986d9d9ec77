"""PDUs, conversations and headers of any kind: what is valid is read as it was written, and what is not ends in one known exception."""

import contextlib
import itertools
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import A_ASSOCIATE

from dicom_node.keeping.object_store import ObjectStore
from dicom_node.receiving.header_peek import peek
from dicom_node.receiving.instance_header import InstanceHeader, UnreadableHeaderError, peek_received, peek_start
from dicom_node.upper_layer import pdus
from dicom_node.upper_layer.acceptor import Acceptor, PduTooLongError
from dicom_node.upper_layer.messages import MessageError, decode_command, encode_response
from dicom_node.upper_layer.negotiation import Offer, accept, accepted_contexts
from dicom_node.upper_layer.pdus import AssociateAccept, AssociateRequest, InvalidPduError, Roles, decode_associate_request
from tests.associating import CT, RELEASE_RQ, VERIFICATION, context, echo, item, request, store, user_information
from tests.receiving import ct_slice, encoded

UIDS = st.lists(st.integers(0, 10**8), min_size=2, max_size=6).map(lambda parts: ".".join(map(str, parts)))
TITLES = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="\\"), min_size=1, max_size=16)
OFFER = Offer(
    abstract_syntaxes=frozenset({CT, VERIFICATION}),
    transfer_syntaxes=(ExplicitVRLittleEndian, ImplicitVRLittleEndian),
    maximum_pdu_bytes=16384,
    maximum_operations=16,
    implementation_class_uid="2.25.1",
    implementation_version="TEST",
)


@given(
    calling=TITLES,
    called=TITLES,
    contexts=st.lists(st.tuples(UIDS, st.lists(UIDS, min_size=1, max_size=4)), min_size=1, max_size=12),
    longest=st.integers(0, 2**32 - 1),
)
@settings(max_examples=40, deadline=None)
def test_a_request_is_read_as_it_was_written(calling: str, called: str, contexts: list[tuple[str, list[str]]], longest: int) -> None:
    written = request(
        *(context(2 * number + 1, abstract, *transfer) for number, (abstract, transfer) in enumerate(contexts)),
        calling=calling.encode(),
        called=called.encode(),
        user=user_information(longest=longest),
    )
    read = decode_associate_request(written[6:])
    assert (read.calling_ae_title, read.called_ae_title, read.maximum_length) == (calling, called, longest)
    assert [(one.abstract_syntax, list(one.transfer_syntaxes)) for one in read.contexts] == contexts
    theirs = A_ASSOCIATE_RQ()
    theirs.decode(written)
    assert [one.context_id for one in theirs.presentation_context] == [one.context_id for one in read.contexts]


@given(
    contexts=st.lists(st.sampled_from([CT, VERIFICATION, "1.2.3"]), min_size=1, max_size=20),
    roles=st.dictionaries(st.sampled_from([CT, VERIFICATION]), st.booleans()),
    window=st.none() | st.tuples(st.integers(0, 65535), st.integers(0, 65535)),
)
@settings(max_examples=40, deadline=None)
def test_pynetdicom_reads_our_answer_as_we_mean_it(contexts: list[str], roles: dict[str, bool], window: tuple[int, int] | None) -> None:
    proposed = tuple(
        pdus.ProposedContext(context_id=2 * number + 1, abstract_syntax=uid, transfer_syntaxes=(ImplicitVRLittleEndian,))
        for number, uid in enumerate(contexts)
    )
    asked = AssociateRequest(
        protocol_version=1,
        called_ae_title="CALLED",
        calling_ae_title="CALLING",
        application_context=pdus.DICOM_APPLICATION_CONTEXT,
        contexts=proposed,
        window=window,
        roles={uid: Roles(scu=True, scp=scp) for uid, scp in roles.items()},
    )
    answer = accept(asked, OFFER)
    theirs = A_ASSOCIATE_AC()
    theirs.decode(answer.encode())
    primitive: A_ASSOCIATE = theirs.to_primitive()
    ours = {one.context_id: one.result for one in answer.contexts}
    assert {one.context_id: one.result for one in primitive.presentation_context_definition_results_list} == ours
    assert {number for number, result in ours.items() if result == 0} == set(accepted_contexts(asked, answer))
    assert primitive.maximum_length_received == 16384
    assert window is None or answer.window is not None


@given(st.binary(max_size=400))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_a_request_or_an_invalid_pdu(content: bytes) -> None:
    with contextlib.suppress(InvalidPduError):
        decode_associate_request(content)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_a_request_with_any_bytes_changed_is_a_request_or_an_invalid_pdu(drawn: st.DataObject) -> None:
    whole = bytearray(request(user=user_information(item(0x53, b"\0\1\0\1"), item(0x54, b"\0\5", b"1.2.3", b"\1\1")))[6:])
    for _ in range(drawn.draw(st.integers(1, 4))):
        whole[drawn.draw(st.integers(0, len(whole) - 1))] = drawn.draw(st.integers(0, 255))
    with contextlib.suppress(InvalidPduError):
        decode_associate_request(whole[: drawn.draw(st.integers(0, len(whole)))])


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_a_command_or_no_message(content: bytes) -> None:
    with contextlib.suppress(MessageError):
        decode_command(content)


@given(status=st.integers(0, 65535), number=st.integers(0, 65535), comment=st.text(max_size=100), uid=UIDS)
@settings(max_examples=60, deadline=None)
def test_an_answer_is_a_command_set_of_even_lengths(status: int, number: int, comment: str, uid: str) -> None:
    written = encode_response(1, message_id=number, sop_class_uid=uid, sop_instance_uid=uid, status=status, comment=comment)
    read = decode_command(written)
    assert (read.field, read.message_id, read.sop_instance_uid, read.has_data_set) == (0x8001, number, uid, False)
    assert len(written) % 2 == 0


class Heard:
    """Remembers what an acceptor tells, however it comes in pieces."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self._piece = b""

    def on_request(self, asked: AssociateRequest) -> AssociateAccept:
        self.told.append(asked)
        return accept(asked, OFFER)

    def on_data(self, context_id: int, fragment: memoryview, *, command: bool, last: bool) -> None:
        self._piece += bytes(fragment)
        if last:
            self.told.append((context_id, command, self._piece))
            self._piece = b""

    def on_release(self) -> None:
        self.told.append("release")

    def on_end(self, *, aborted: bool) -> None:
        self.told.append(("end", aborted))


def heard(content: bytes, cuts: list[int]) -> tuple[list[object], bytes, bool]:
    user = Heard()
    acceptor = Acceptor(user, maximum_pdu_bytes=4096)
    places = [0, *sorted(cut % (len(content) + 1) for cut in cuts), len(content)]
    too_long = False
    for start, end in itertools.pairwise(places):
        try:
            acceptor.receive(memoryview(content)[start:end])
        except PduTooLongError:
            too_long = True
            break
    return user.told, bytes(acceptor.outgoing), too_long


CONVERSATION = request() + echo() + store(1, "1.2.3", bytes(range(256)) * 4, piece=100) + RELEASE_RQ


@given(st.lists(st.integers(0, 10**6), max_size=60))
@settings(max_examples=80, deadline=None)
def test_a_conversation_means_the_same_however_it_is_cut(cuts: list[int]) -> None:
    assert heard(CONVERSATION, cuts) == heard(CONVERSATION, [])
    assert heard(CONVERSATION, [])[0][-1] == "release"


@given(prefix=st.sampled_from([b"", request(), request() + echo()]), noise=st.binary(max_size=300), cuts=st.lists(st.integers(0, 1000)))
@settings(max_examples=300, deadline=None)
def test_noise_is_answered_alike_however_it_is_cut_and_never_with_an_exception(prefix: bytes, noise: bytes, cuts: list[int]) -> None:
    assert heard(prefix + noise, cuts)[1:] == heard(prefix + noise, [])[1:]


@given(st.integers(1, 200), st.integers(0, 4000))
@settings(max_examples=60, deadline=None)
def test_what_we_send_never_exceeds_what_the_peer_takes(longest: int, size: int) -> None:
    sent, read = pdus.data(1, bytes(size), command=True, longest=longest), b""
    while sent:
        kind, length = pdus.HEADER.unpack(sent[:6])
        assert kind == pdus.P_DATA_TF
        assert length <= max(longest, 7)
        read, sent = read + sent[12 : 6 + length], sent[6 + length :]
    assert read == bytes(size)


def data_sets() -> st.SearchStrategy[Dataset]:
    """Data sets with what reception reads, and much that it steps over."""

    def made(priority: str, in_item: str, undefined: bool, text: str, extra: int) -> Dataset:
        data_set = ct_slice()
        data_set.RequestedProcedurePriority = priority
        data_set.SeriesDescription = text
        data_set.NumberOfStudyRelatedInstances = extra
        inner = Dataset()
        inner.RequestedProcedurePriority = in_item
        inner.RequestedProcedureID = "1"
        data_set.RequestAttributesSequence = Sequence([inner, Dataset()])
        data_set["RequestAttributesSequence"].is_undefined_length = undefined
        nested = Dataset()
        nested.ReferencedImageSequence = Sequence([Dataset(), Dataset()])
        nested["ReferencedImageSequence"].is_undefined_length = undefined
        nested.is_undefined_length_sequence_item = undefined
        data_set.ReferencedImageSequence = Sequence([nested])
        data_set["ReferencedImageSequence"].is_undefined_length = undefined
        data_set.add_new(0x00290010, "LO", "PRIVATE")
        data_set.add_new(0x00291010, "OB", bytes(extra * 50))
        return data_set

    return st.builds(
        made,
        st.sampled_from(["STAT", "HIGH", "LOW", ""]),
        st.sampled_from(["STAT", "MEDIUM", ""]),
        st.booleans(),
        st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="\\"), max_size=30).map(str.strip),
        st.integers(1, 1000),
    )


@pytest.mark.filterwarnings("ignore")
@given(
    data_set=data_sets(),
    syntax=st.sampled_from([ExplicitVRLittleEndian, ImplicitVRLittleEndian]),
    changes=st.lists(st.tuples(st.integers(0, 500), st.integers(0, 255)), max_size=3),
    cuts=st.tuples(st.floats(0, 1) | st.just(1.0), st.integers(0, 3000) | st.just(1 << 20)),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_quick_look_at_a_header_says_what_pydicom_says(
    tmp_path: Path, data_set: Dataset, syntax: str, changes: list[tuple[int, int]], cuts: tuple[float, int]
) -> None:
    kept, first_piece = cuts
    content = bytearray(encoded(data_set, syntax))
    for place, value in changes:
        content[place % len(content)] = value
    content = content[: int(len(content) * kept)]
    file = ObjectStore(tmp_path, power_loss=False).incoming(b"preamble")
    file.write(content)
    try:
        quick = _said(lambda: peek_received(file, transfer_syntax_uid=syntax))
    finally:
        file.discard()
    assert quick == _said(lambda: peek(BytesIO(content), transfer_syntax_uid=syntax))
    assert peek_start(memoryview(content)[:first_piece], transfer_syntax_uid=syntax) in {None, quick}


def test_the_start_of_a_data_set_says_all_as_soon_as_it_can() -> None:
    content = memoryview(encoded(ct_slice()))
    whole = peek(BytesIO(content), transfer_syntax_uid=ExplicitVRLittleEndian)
    said = [peek_start(content[:length], transfer_syntax_uid=ExplicitVRLittleEndian) for length in range(len(content))]
    begins = bytes(content).index(b"\xe0\x7f\x10\x00OW")
    assert said[begins:][:12] == [None] * 12
    assert set(said[: begins + 12]) == {None}
    assert set(said[begins + 12 :]) == {whole}


def _said(look: object) -> InstanceHeader | str:
    try:
        return look()  # type: ignore[operator,no-any-return]
    except UnreadableHeaderError as exc:
        return str(exc)
