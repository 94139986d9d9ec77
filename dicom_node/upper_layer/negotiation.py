"""The answer to an A-ASSOCIATE-RQ: which presentation contexts, roles and window (PS3.8 Annex B and D, PS3.7 Annex D)."""

from collections.abc import Mapping
from dataclasses import dataclass

from dicom_node.upper_layer.pdus import (
    DICOM_APPLICATION_CONTEXT,
    AnsweredContext,
    AssociateAccept,
    AssociateReject,
    AssociateRequest,
    ProposedContext,
    Roles,
)

_ACCEPTED, _ABSTRACT_SYNTAX_NOT_SUPPORTED, _TRANSFER_SYNTAXES_NOT_SUPPORTED, _USER_REJECTION = 0, 3, 4, 1
_PERMANENT, _BY_USER, _BY_ACSE = 1, 1, 2

# PS3.8 Table 9-21
APPLICATION_CONTEXT_NOT_SUPPORTED = AssociateReject(result=_PERMANENT, source=_BY_USER, reason=2)
PROTOCOL_VERSION_NOT_SUPPORTED = AssociateReject(result=_PERMANENT, source=_BY_ACSE, reason=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What an acceptor offers: abstract syntaxes, and transfer syntaxes in the order in which they are chosen."""

    abstract_syntaxes: frozenset[str]
    transfer_syntaxes: tuple[str, ...]
    maximum_pdu_bytes: int
    maximum_operations: int
    implementation_class_uid: str
    implementation_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedContext:
    """A presentation context that data may come in."""

    abstract_syntax: str
    transfer_syntax: str


def objection(request: AssociateRequest) -> AssociateReject | None:
    """Return why the request cannot be talked about at all, if it cannot."""
    if not request.speaks_our_version:
        return PROTOCOL_VERSION_NOT_SUPPORTED
    if request.application_context != DICOM_APPLICATION_CONTEXT:
        return APPLICATION_CONTEXT_NOT_SUPPORTED
    return None


def accept(request: AssociateRequest, offer: Offer, *, barred: frozenset[str] = frozenset()) -> AssociateAccept:
    """Return the answer to a request of somebody who may associate, though not for the SOP classes that are `barred`.

    The requestor is given the role of SCU and never that of SCP. A user identity is neither checked nor answered, which tells the
    requestor that it is not supported (PS3.7 D.3.3.7.1); the association does not depend on it.
    """
    allowed = offer.abstract_syntaxes - barred if barred else offer.abstract_syntaxes
    return AssociateAccept(
        called_ae_title=request.called_ae_title,
        calling_ae_title=request.calling_ae_title,
        contexts=tuple(
            _answer(context, request.roles.get(context.abstract_syntax), allowed, offer.transfer_syntaxes) for context in request.contexts
        ),
        maximum_length=offer.maximum_pdu_bytes,
        implementation_class_uid=offer.implementation_class_uid,
        implementation_version=offer.implementation_version,
        window=_window(request.window, offer.maximum_operations),
        roles={uid: Roles(scu=roles.scu, scp=False) for uid, roles in request.roles.items() if uid in allowed},
    )


def accepted_contexts(request: AssociateRequest, answer: AssociateAccept) -> Mapping[int, AcceptedContext]:
    """Return what may come under which context ID."""
    proposed = {context.context_id: context.abstract_syntax for context in request.contexts}
    return {
        context.context_id: AcceptedContext(abstract_syntax=proposed[context.context_id], transfer_syntax=context.transfer_syntax)
        for context in answer.contexts
        if context.result == _ACCEPTED
    }


def operations_at_once(answer: AssociateAccept) -> int:
    """Return how many requests may be without an answer at once."""
    return answer.window[0] if answer.window else 1


def _answer(
    context: ProposedContext, roles: Roles | None, abstract_syntaxes: frozenset[str], transfer_syntaxes: tuple[str, ...]
) -> AnsweredContext:
    # Where a context is refused, its transfer syntax "is not significant and shall not be tested" (PS3.8 9.3.3.2).
    refused = context.transfer_syntaxes[0] if context.transfer_syntaxes[0].isascii() else DICOM_APPLICATION_CONTEXT
    if context.abstract_syntax not in abstract_syntaxes:
        return AnsweredContext(context_id=context.context_id, result=_ABSTRACT_SYNTAX_NOT_SUPPORTED, transfer_syntax=refused)
    if roles is not None and not roles.scu:
        return AnsweredContext(context_id=context.context_id, result=_USER_REJECTION, transfer_syntax=refused)
    proposed = frozenset(context.transfer_syntaxes)
    chosen = next((uid for uid in transfer_syntaxes if uid in proposed), None)
    if chosen is None:
        return AnsweredContext(context_id=context.context_id, result=_TRANSFER_SYNTAXES_NOT_SUPPORTED, transfer_syntax=refused)
    return AnsweredContext(context_id=context.context_id, result=_ACCEPTED, transfer_syntax=chosen)


def _window(proposed: tuple[int, int] | None, maximum: int) -> tuple[int, int] | None:
    """Return how many operations the requestor may invoke at once; 0 is unlimited. We invoke none, so we perform one at a time."""
    if proposed is None:
        return None
    invoked = proposed[0]
    return (maximum if invoked == 0 else min(invoked, maximum), 1)
