"""This node as an application entity of pynetdicom: the same implementation in whatever it sends (PS3.7 D.3.3.2)."""

import threading

from pydicom.uid import UID
from pynetdicom import AE, _config
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.service_class import StorageServiceClass
from pynetdicom.sop_class import register_uid

from config.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_node.receiving.capabilities import RETIRED_SOP_CLASSES

# pynetdicom would format a record for each PDU, with what a peer sent.
_config.LOG_HANDLER_LEVEL = "none"

_LOOK_S = 0.05


def own_entity(ae_title: str) -> AE:
    """Return an application entity with our Implementation Class UID and Version Name."""
    entity = AE(ae_title=ae_title)
    entity.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    return entity


def rejection(association: Association) -> A_ASSOCIATE | None:
    """Return the A-ASSOCIATE-RJ that a request of ours was answered with, None if it was not rejected.

    A peer may reject so quickly that pynetdicom closes the connection before it looks whether there was one: it then says "aborted", and
    leaves the answer in its queue (pynetdicom 3.0, ACSE._negotiate_as_requestor).
    """
    if association.is_established or association.rejected_contexts:
        return None
    answer = association.acceptor.primitive or association.dul.peek_next_pdu()
    return answer if isinstance(answer, A_ASSOCIATE) and answer.result else None


class Checkpoint:
    """Where the thread of an association stands while another one sends a request and takes its answer.

    In pynetdicom 3.0 that thread says that it stands shortly before it does. On a busy machine it may go on, take the answer itself and
    throw it away: whoever sent then waits for its time-out. Here `clear` returns when the thread does stand, or has ended.
    """

    def __init__(self, thread: threading.Thread) -> None:
        self._thread = thread
        self._changed = threading.Condition()
        self._open = True
        self._stands = False

    def set(self) -> None:
        """Let the thread go on."""
        with self._changed:
            self._open = True
            self._changed.notify_all()

    def clear(self) -> None:
        """Stop the thread."""
        with self._changed:
            self._open = False
            while not self._stands and self._thread.is_alive() and threading.current_thread() is not self._thread:
                self._changed.wait(_LOOK_S)

    def wait(self) -> None:
        """Stand as long as the thread is stopped."""
        with self._changed:
            self._stands = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._open)
            self._stands = False


def keep_answers(association: Association) -> None:
    """Let nobody but the sender take the answers to what is sent on this association. Call it before anything is sent."""
    association._reactor_checkpoint = Checkpoint(association)  # type: ignore[assignment]  # noqa: SLF001 - there is no other way in


def register_retired_sop_classes() -> None:
    """Teach pynetdicom that these are storage; without it, it aborts an association that uses them."""
    for keyword, uid in RETIRED_SOP_CLASSES.items():
        register_uid(uid, keyword, StorageServiceClass)
