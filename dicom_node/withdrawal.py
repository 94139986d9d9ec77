"""Withdrawing the results of a study: what was sent cannot be called back, so a document that takes it back follows it.

The withdrawal is an analysis like any other, one that holds no answer and says why; encoding and delivery do the rest. It goes to
every destination that may have got what it withdraws, whatever is configured since.
"""

import hashlib
from dataclasses import replace
from pathlib import Path

import structlog

from dicom_node.failures import NodeError
from dicom_node.ledger.withdrawals import NewWithdrawal, ReportedItem
from dicom_node.node import Node
from dicom_node.routing.selection import decode_selection, encode_selection
from inference.analysis import decode_analysis, encode_analysis
from inference.findings import Analysis, ImageRef, Outcome

log = structlog.get_logger()


class NotWithdrawnError(NodeError):
    """The results of a study cannot be withdrawn now. The message says why and what to do."""


def withdraw(node: Node, study_instance_uid: str, *, why: str, who: str) -> tuple[str, ...]:
    """Withdraw what was reported about a study; return the routes whose result is withdrawn by this call, none if all are already.

    `why` goes into the documents and the study's history; it must not name the patient.

    Raises:
        NotWithdrawnError: the study is unknown, in work or purged, or nothing was reported about it.
    """
    standing = node.ledger.standing(study_instance_uid)
    if standing is None:
        raise NotWithdrawnError(f"study {study_instance_uid} never arrived here")
    if not standing.routed:
        raise NotWithdrawnError(f"study {study_instance_uid} is about to be routed; try again in a moment")
    if not standing.reported:
        return ()
    revision = standing.revision + 1
    made = [_withdrawal(node, study_instance_uid, item, revision=revision, why=why) for item in standing.reported]
    if not node.ledger.record_withdrawal(study_instance_uid, made, revision=revision, who=who, why=why, now=node.clock()):
        raise NotWithdrawnError(f"study {study_instance_uid} changed meanwhile; try again")
    routes = tuple(one.route for one in made)
    log.warning("results_withdrawn", study_instance_uid=study_instance_uid, revision=revision, routes=routes, who=who)
    return routes


def _withdrawal(node: Node, study_instance_uid: str, item: ReportedItem, *, revision: int, why: str) -> NewWithdrawal:
    """Make the analysis of one withdrawal durable. Its name depends on the reason, so no later revision takes it for its own."""
    selection = decode_selection(item.selection)
    here = tuple(file for file in selection.files if node.store.absolute(Path(file.path)).exists())
    if not here:
        raise NotWithdrawnError(
            f"the images of study {study_instance_uid} were purged, and with them what the withdrawal must say about whose it is; "
            "send the study again, then withdraw"
        )
    inputs = tuple(ImageRef(sop_class_uid=file.sop_class_uid, sop_instance_uid=file.sop_instance_uid) for file in here)
    reported = _reported(node, item)
    analysis = Analysis(
        study_instance_uid=study_instance_uid,
        revision=revision,
        route=item.route,
        outcome=Outcome.NOT_ATTEMPTED,
        analysed_at=node.clock(),
        inputs=inputs,
        provenance=reported.provenance if reported else None,
        seen_by=reported.seen_by if reported else None,
        withdrawn=why,
    )
    name = hashlib.sha256(f"{study_instance_uid} {revision} {item.route} withdrawn {why}".encode()).hexdigest()
    path = node.store.write_atomic(Path("analyses") / name[:2] / f"{name}.json", encode_analysis(analysis))
    files = encode_selection(replace(selection, files=here))
    return NewWithdrawal(route=item.route, selection=files, inputs_digest=item.inputs_digest, analysis_path=path)


def _reported(node: Node, item: ReportedItem) -> Analysis | None:
    """Return what is withdrawn, for the name of the model; None if it was purged."""
    if item.analysis_path is None or not node.store.absolute(item.analysis_path).exists():
        return None
    return decode_analysis(node.store.absolute(item.analysis_path).read_bytes())
