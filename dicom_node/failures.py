"""What a failure means: exception class -> verdict, in one table.

Messages of the exceptions here name UIDs, destinations and statuses and say what to do; never a patient.
"""

import enum
import errno
import traceback
from collections.abc import Mapping

from dicom_node.lifecycle import IllegalTransitionError


class Verdict(enum.StrEnum):
    """RETRY: the same again later may work. REFUSE: it must not be done, and that is the result. GIVE_UP: an operator has to act."""

    RETRY = "retry"
    REFUSE = "refuse"
    GIVE_UP = "give up"


class NodeError(Exception):
    """Base of the failures that the node has a name for. `str()` may be logged and shown."""


class DeliveryError(NodeError):
    """A result did not reach its destination. `status` is the answer as the peer gave it, "" where none came."""

    def __init__(self, message: str, *, status: str = "") -> None:
        super().__init__(message)
        self.status = status


class DestinationUnreachableError(DeliveryError):
    """No connection: nobody listens there, the name does not resolve, the folder is not mounted."""


class AssociationRejectedError(DeliveryError):
    """The archive rejected the association (A-ASSOCIATE-RJ, PS3.8 9.3.4). Also when permanent: somebody may be reconfiguring it."""


class AssociationAbortedError(DeliveryError):
    """The association was aborted, or nobody answered the request for one."""


class TlsFailedError(DeliveryError):
    """Somebody listens there, but the two did not agree on TLS: certificate, authority, host name or version."""


class NotAuthorisedError(DeliveryError):
    """The destination does not let this node in: 401 or 403, or there is no token to show. Somebody may be putting it right."""


class EmptyAnswerError(DeliveryError):
    """The result was sent and no answer came back: time-out, abort, or an answer about something else.

    The destination may have it; sending again is safe.
    """


class PresentationContextRefusedError(DeliveryError):
    """The archive takes associations, but not this SOP class in a transfer syntax that we can send."""


class ConnectionEndedError(EmptyAnswerError):
    """The connection ended before the answer came; a time-out is another thing."""


class StoreFailedError(DeliveryError):
    """The destination answered with a failure that may pass, such as 0xA700 (out of resources) or 503."""


class StoreRefusedError(DeliveryError):
    """The destination answered that it will not take this result, such as 0xA900, 0xC000, 422, AE or AR."""


class CommitmentFailedError(DeliveryError):
    """The archive was not asked to keep what it accepted, or did not say that it was. It is asked again."""


class ResultMissingError(DeliveryError):
    """The file of a result is not in the object store, perhaps because its file system is not mounted."""


class ResultUnsuitableError(DeliveryError):
    """The file of a result is not the SOP Instance that the ledger says it is."""


class ResultConflictError(DeliveryError):
    """The destination already holds another content under the same SOP Instance UID."""


class AttemptsExhaustedError(DeliveryError):
    """Every attempt that the settings allow was begun, and this node lived to record none of the last ones."""


VERDICTS: Mapping[type[BaseException], Verdict] = {
    DestinationUnreachableError: Verdict.RETRY,
    AssociationRejectedError: Verdict.RETRY,
    AssociationAbortedError: Verdict.RETRY,
    TlsFailedError: Verdict.RETRY,
    NotAuthorisedError: Verdict.RETRY,
    EmptyAnswerError: Verdict.RETRY,
    ConnectionEndedError: Verdict.RETRY,
    CommitmentFailedError: Verdict.RETRY,
    StoreFailedError: Verdict.RETRY,
    ResultMissingError: Verdict.RETRY,
    PresentationContextRefusedError: Verdict.GIVE_UP,
    StoreRefusedError: Verdict.GIVE_UP,
    ResultUnsuitableError: Verdict.GIVE_UP,
    ResultConflictError: Verdict.GIVE_UP,
    AttemptsExhaustedError: Verdict.GIVE_UP,
    IllegalTransitionError: Verdict.GIVE_UP,
    OSError: Verdict.RETRY,
    MemoryError: Verdict.RETRY,
    Exception: Verdict.RETRY,  # attempts are counted, so what nobody foresaw ends in front of an operator too
}


NOT_HANDED_OVER = (
    DestinationUnreachableError,
    AssociationRejectedError,
    AssociationAbortedError,
    TlsFailedError,
    NotAuthorisedError,
)
"""Failures before the result left this node. They are the destination's, so they do not use up the attempts of a result."""

MACHINE_TROUBLES = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})


def is_the_machines(exc: BaseException) -> bool:
    """Say whether the disk is to blame and not the study: full, over quota, read-only or broken. Such an attempt does not count."""
    return isinstance(exc, OSError) and exc.errno in MACHINE_TROUBLES


def judge(exc: BaseException) -> Verdict:
    """Return the verdict on `exc`: that of its nearest class in the table.

    Raises:
        BaseException: `exc` itself, if it is no failure (KeyboardInterrupt, SystemExit).
    """
    for ancestor in type(exc).__mro__:
        if ancestor in VERDICTS:
            return VERDICTS[ancestor]
    raise exc


def describe(exc: BaseException) -> str:
    """Return what may be logged and recorded of `exc`: the words of a failure with a name, else only its class and place.

    Messages of foreign exceptions may quote values from a data set, so they stay out.
    """
    if isinstance(exc, NodeError):
        return str(exc)
    frames = traceback.extract_tb(exc.__traceback__)
    place = f" in {frames[-1].name}, line {frames[-1].lineno}" if frames else ""
    return f"{type(exc).__name__}{place}"
