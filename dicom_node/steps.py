"""The steps of a study through the node, one function each: settle, route, analyse, encode (deliver is a lane of its own).

This is the hinge: the only module that knows routing, inference and reporting. Each step writes its effect under a
derived name first and records it second, so that a crash in between repeats the step and finds the effect.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from pydicom import Dataset, dcmread

from config.catalogue import Catalogue
from config.schema import Settings
from dicom_node.failures import describe
from dicom_node.ledger import Ledger, NewResult, NewWorkItem, WorkItem
from dicom_node.object_store import ObjectStore
from dicom_node.routing import RoutableInstance, route_study
from dicom_node.selection import SelectedFile, Selection, decode_selection, encode_selection
from dicom_node.settling import why_settled
from dicom_node.study import ReceivedInstance, Study
from dicom_node.telemetry import SETTLED
from dicom_node.version import producer
from inference.analysis import SelectedInstance, decode_analysis, encode_analysis, unanswered
from inference.analysis import analyse as analyse_instances
from inference.findings import AbstentionReason, Analysis, Exclusion, ImageRef, Outcome
from inference.pixel_data import refuse_inflation
from reporting import ENCODERS, PreviousReport

if TYPE_CHECKING:  # torch takes seconds to import; of the processes only the worker needs it
    from inference.engine import Engine

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What every step needs: settings, the catalogue, the two owners of durable state, and the time."""

    settings: Settings
    catalogue: Catalogue
    ledger: Ledger
    store: ObjectStore
    clock: Callable[[], datetime]


def settle(node: Node) -> int:
    """Fix a revision of every study that counts as complete; return how many."""
    settled = 0
    for study in node.ledger.open_studies():
        why = why_settled(study, node.settings.settle, node.clock())
        if why is not None and node.ledger.settle(study, why=why, now=node.clock()):
            log.info("study_settled", study_instance_uid=study.study_instance_uid, instances=study.instances, why=why)
            SETTLED.inc()
            settled += 1
    return settled


def route(node: Node) -> int:
    """Make the work items of every settled revision that has none yet; return how many."""
    return sum(_route_one(node, study) for study in node.ledger.unrouted_studies())


def _route_one(node: Node, study: Study) -> int:
    """Route one study; if its files cannot be read now, it is tried again in the next round and holds up nobody else."""
    about = {"study_instance_uid": study.study_instance_uid, "revision": study.revision}
    try:
        selections = select(node, study)
    except OSError as exc:
        log.error("study_not_routed", **about, reason=describe(exc))  # noqa: TRY400 - a traceback may quote values
        return 0
    items = [
        NewWorkItem(route=name, selection=encode_selection(selection), inputs_digest=selection.digest) for name, selection in selections
    ]
    made = node.ledger.record_routing(study, items, now=node.clock())
    log.info("study_routed", **about, routes=[item.route for item in items])
    return made


def select(node: Node, study: Study) -> tuple[tuple[str, Selection], ...]:
    """Return what each route takes of a study, by route name."""
    instances = [
        RoutableInstance(header=read_header(node.store.absolute(one.path)), calling_ae_title=one.calling_ae_title, carried=one)
        for one in study.instances
    ]
    return tuple(
        (
            routed.route.name,
            Selection(
                files=tuple(_selected_file(one.carried) for one in routed.selected),
                excluded=tuple(Exclusion(image=_reference(one.instance.carried), reason=one.reason) for one in routed.left_out),
            ),
        )
        for routed in route_study(instances, node.catalogue.routes)
    )


def read_header(path: Path) -> Dataset:
    """Return the header of a Part 10 file without pixel data; what cannot be parsed is absent, down to an empty header.

    Raises:
        OSError: the file is there and cannot be read now.
    """
    try:
        refuse_inflation(path)
        return dcmread(path, stop_before_pixels=True, force=True)
    except FileNotFoundError:
        log.error("file_missing", file=path.name)  # noqa: TRY400 - the report will say that it was not analysed
        return Dataset()
    except OSError:
        raise
    except Exception as exc:  # noqa: BLE001 - hostile bytes raise anything; the receiver keeps them, so routing must live with them
        log.warning("header_unreadable", file=path.name, reason=describe(exc))
        return Dataset()


def _selected_file(instance: ReceivedInstance) -> SelectedFile:
    return SelectedFile(
        sop_class_uid=instance.sop_class_uid,
        sop_instance_uid=instance.sop_instance_uid,
        series_instance_uid=instance.series_instance_uid,
        path=instance.path.as_posix(),
        digest=instance.digest,
    )


def _reference(instance: ReceivedInstance) -> ImageRef:
    return ImageRef(sop_class_uid=instance.sop_class_uid, sop_instance_uid=instance.sop_instance_uid)


def _image(file: SelectedFile) -> ImageRef:
    return ImageRef(sop_class_uid=file.sop_class_uid, sop_instance_uid=file.sop_instance_uid)


def analyse(node: Node, engine: "Engine", item: WorkItem) -> None:
    """Make the findings of a work item durable, unless an earlier attempt did so before it was stopped."""
    path = _analysis_path(item)
    if not node.store.absolute(path).exists():
        selection = decode_selection(item.selection)
        node.store.write_atomic(path, encode_analysis(_analysis(node, engine, item, selection)))
    node.ledger.record_analysis(item, path=path, now=node.clock())


def record_failed_analysis(node: Node, item: WorkItem, reason: str) -> None:
    """Make it a finding that a work item could not be analysed: a failure must not look like a negative."""
    selection = decode_selection(item.selection)
    failed = unanswered(
        outcome=Outcome.FAILED,
        study_instance_uid=item.study_instance_uid,
        revision=item.revision,
        route=item.route,
        inputs=tuple(map(_image, selection.files)),
        excluded=selection.excluded,
        reason=AbstentionReason.MODEL_FAILED,
        detail=f"the analysis failed: {reason}",
        analysed_at=node.clock(),
    )
    path = node.store.write_atomic(_analysis_path(item), encode_analysis(failed))
    node.ledger.record_analysis(item, path=path, now=node.clock())


def _analysis(node: Node, engine: "Engine", item: WorkItem, selection: Selection) -> Analysis:
    files = [(node.store.absolute(Path(file.path)), file) for file in selection.files]
    return analyse_instances(
        study_instance_uid=item.study_instance_uid,
        revision=item.revision,
        route=node.catalogue.route(item.route),
        selected=tuple(SelectedInstance(path=path, header=read_header(path), received_as=_image(file)) for path, file in files),
        excluded=selection.excluded,
        engine=engine,
        catalogue=node.catalogue,
        site=node.settings.node.site,
        analysed_at=node.clock(),
        maximum_frame_megapixels=node.settings.work.maximum_frame_megapixels,
    )


def _analysis_path(item: WorkItem) -> Path:
    name = hashlib.sha256(f"{item.study_instance_uid} {item.revision} {item.route}".encode()).hexdigest()
    return Path("analyses") / name[:2] / f"{name}.json"


def encode(node: Node, item: WorkItem) -> None:
    """Make the results of a work item durable and due at each destination of its route."""
    if item.analysis_path is None:
        raise ValueError(f"work item {item.id} is {item.state.value} without an analysis")
    analysis = decode_analysis(node.store.absolute(item.analysis_path).read_bytes())
    headers = _headers(node, item, analysis)
    results = tuple(_encode_one(node, item, analysis, headers, kind) for kind in ENCODERS)
    node.ledger.record_results(item, results, _destinations(node, item.route), now=node.clock())


def _headers(node: Node, item: WorkItem, analysis: Analysis) -> tuple[Dataset, ...]:
    wanted = {image.sop_instance_uid for image in analysis.inputs}
    files = decode_selection(item.selection).files
    return tuple(_header_of(node, item, file) for file in files if file.sop_instance_uid in wanted)


def _header_of(node: Node, item: WorkItem, file: SelectedFile) -> Dataset:
    """The header of a file as far as it can be read; the UIDs are those that it was received under."""
    header = read_header(node.store.absolute(Path(file.path)))
    header.StudyInstanceUID = item.study_instance_uid
    header.SeriesInstanceUID = file.series_instance_uid
    header.SOPClassUID = file.sop_class_uid
    header.SOPInstanceUID = file.sop_instance_uid
    return header


def _encode_one(node: Node, item: WorkItem, analysis: Analysis, headers: Sequence[Dataset], kind: str) -> NewResult:
    superseded = node.ledger.previous_result(item, kind)
    previous = None if superseded is None else _previous_report(node.store.absolute(superseded))
    encoded = ENCODERS[kind](analysis, headers, producer=producer(node.settings.node), previous=previous)
    path = node.store.write_atomic(_result_path(encoded.sop_instance_uid), encoded.data)
    return NewResult(
        kind=kind,
        sop_class_uid=encoded.sop_class_uid,
        sop_instance_uid=encoded.sop_instance_uid,
        path=path,
        digest=hashlib.sha256(node.store.absolute(path).read_bytes()).hexdigest(),
    )


def _result_path(sop_instance_uid: str) -> Path:
    name = hashlib.sha256(sop_instance_uid.encode()).hexdigest()
    return Path("results") / name[:2] / f"{name}.dcm"


def _previous_report(path: Path) -> PreviousReport:
    report = dcmread(path)
    return PreviousReport(
        study_instance_uid=str(report.StudyInstanceUID),
        series_instance_uid=str(report.SeriesInstanceUID),
        sop_class_uid=str(report.SOPClassUID),
        sop_instance_uid=str(report.SOPInstanceUID),
        instance_number=int(report.InstanceNumber),
    )


def _destinations(node: Node, route_name: str) -> tuple[str, ...]:
    named = node.catalogue.route(route_name).destinations
    return tuple(destination.name for destination in node.settings.destinations) if named is None else named
