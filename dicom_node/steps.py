"""The steps of a study through the node, one function each: settle, route, analyse, encode (deliver is a lane of its own).

This is the hinge: the only module that knows routing, inference and reporting. Each step writes its effect under a
derived name first and records it second, so that a crash in between repeats the step and finds the effect.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from pydicom import Dataset, dcmread

from dicom_node import audit
from dicom_node.audit.arrivals import tell_arrivals
from dicom_node.audit.events import InstancesAccessed
from dicom_node.audit.subjects import counted, patient_id_of
from dicom_node.failpoints import failpoint
from dicom_node.failures import describe
from dicom_node.flags.flagging import decide as decide_flags
from dicom_node.ledger import NewResult, NewWorkItem, SupersededResult, WorkItem
from dicom_node.node import Node
from dicom_node.pictures import pictures_of
from dicom_node.routing.rules import RoutableInstance, route_study
from dicom_node.routing.selection import SelectedFile, Selection, decode_selection, encode_selection
from dicom_node.settling import why_settled
from dicom_node.study import ReceivedInstance, Study
from dicom_node.telemetry import SETTLED, count_flag
from dicom_node.version import producer
from inference.analysis import SelectedInstance, decode_analysis, encode_analysis, unanswered
from inference.analysis import analyse as analyse_instances
from inference.explanation import Explain, explain
from inference.findings import AbstentionReason, Analysis, Exclusion, ImageRef, Outcome
from inference.pixels.pixel_data import refuse_inflation
from reporting import (
    ENCODERS,
    ILLUSTRATED,
    SHOWING_PLACES,
    STANDING_RECORD,
    EncodedResult,
    MediaType,
    PreviousReport,
    heat_to_show,
    images_to_show,
)

if TYPE_CHECKING:  # torch takes seconds to import; of the processes only the worker needs it
    from inference.engine import Engine

log = structlog.get_logger()

PURGED = "reported in an earlier revision, and purged from this node since"
_ENDINGS = {MediaType.DICOM: ".dcm", MediaType.HL7_V2: ".hl7", MediaType.FHIR_JSON: ".json"}


def settle(node: Node) -> int:
    """Fix a revision of every study that counts as complete; return how many."""
    settled = 0
    if restamped := node.ledger.restamp_arrivals(node.clock()):
        log.warning("clock_went_back", studies=restamped)
    for study in node.ledger.open_studies():
        why = why_settled(study, node.settings.settle, node.clock())
        if why is None:
            continue
        failpoint("settle.begun")
        if node.ledger.settle(study, why=why, now=node.clock()):
            failpoint("settle.recorded")
            log.info("study_settled", study_instance_uid=study.study_instance_uid, instances=study.instances, why=why)
            SETTLED.inc()
            settled += 1
    return settled


def tell(node: Node) -> int:
    """Have the audit trail say what arrived; return of how many studies it does now."""
    return tell_arrivals(node.ledger, node.store.absolute)


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
    failpoint("route.selected")
    made = node.ledger.record_routing(study, items, now=node.clock())
    failpoint("route.recorded")
    log.info("study_routed", **about, routes=[item.route for item in items])
    return made


def select(node: Node, study: Study) -> tuple[tuple[str, Selection], ...]:
    """Return what each route takes of a study, by route name.

    What a route took of an earlier revision and was purged since is left out, with the reason. It still counts as an input,
    so that a study that is sent again as it was makes no second report.
    """
    gone = {one.sop_instance_uid: one.digest for one in study.purged}
    instances = [
        RoutableInstance(header=read_header(node.store.absolute(one.path)), calling_ae_title=one.calling_ae_title, carried=one)
        for one in study.instances
    ]
    selections = []
    for routed in route_study(instances, node.catalogue.routes):
        taken = node.ledger.newest_selection(study.study_instance_uid, routed.route.name) if gone else None
        before = () if taken is None else (*decode_selection(taken).files, *decode_selection(taken).purged)
        purged = tuple(file for file in before if gone.get(file.sop_instance_uid) == file.digest)
        left_out = [Exclusion(image=_reference(one.instance.carried), reason=one.reason) for one in routed.left_out]
        left_out += [Exclusion(image=_image(file), reason=PURGED) for file in purged]
        files = tuple(_selected_file(one.carried) for one in routed.selected)
        selections.append((routed.route.name, Selection(files=files, excluded=tuple(left_out), purged=purged)))
    return tuple(selections)


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
    failpoint("analyse.begun")
    path = _analysis_path(item)
    if not node.store.absolute(path).exists():
        selection = decode_selection(item.selection)
        node.store.write_atomic(path, encode_analysis(_analysis(node, engine, item, selection)))
    failpoint("analyse.kept")
    node.ledger.record_analysis(item, path=path, now=node.clock())
    failpoint("analyse.recorded")


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
    selected = tuple(SelectedInstance(path=path, header=read_header(path), received_as=_image(file)) for path, file in files)
    route, megapixels = node.catalogue.route(item.route), node.settings.work.maximum_frame_megapixels
    analysis = analyse_instances(
        study_instance_uid=item.study_instance_uid,
        revision=item.revision,
        route=route,
        selected=selected,
        excluded=selection.excluded,
        engine=engine,
        catalogue=node.catalogue,
        site=node.settings.node.site,
        analysed_at=node.clock(),
        maximum_frame_megapixels=megapixels,
    )
    return explain(
        analysis,
        selected=selected,
        route=route,
        scorer=engine,
        catalogue=node.catalogue,
        which=_explained(node, item),
        maximum_frame_megapixels=megapixels,
    ).analysis


def _explained(node: Node, item: WorkItem) -> Explain:
    """Which findings' places are worth looking for: none unless somebody who is sent results of this route is shown places."""
    named = node.catalogue.route(item.route).destinations
    takers = (destination for destination in node.settings.destinations if named is None or destination.name in named)
    shown = any(kind in destination.results for destination in takers for kind in SHOWING_PLACES)
    return Explain(node.settings.work.explain) if shown else Explain.OFF


def _analysis_path(item: WorkItem) -> Path:
    name = hashlib.sha256(f"{item.study_instance_uid} {item.revision} {item.route}".encode()).hexdigest()
    return Path("analyses") / name[:2] / f"{name}.json"


def encode(node: Node, item: WorkItem) -> None:
    """Make the results of a work item durable and due at each destination of its route."""
    if item.analysis_path is None:
        raise ValueError(f"work item {item.id} is {item.state.value} without an analysis")
    failpoint("encode.begun")
    analysis = decode_analysis(node.store.absolute(item.analysis_path).read_bytes())
    if analysis.withdrawn is None:
        analysis = _with_flags(node, analysis)
    made, omitted = _results(node, item, analysis)
    failpoint("encode.kept")
    node.ledger.record_results(item, made, omitted=omitted, now=node.clock())
    failpoint("encode.recorded")


def _results(node: Node, item: WorkItem, analysis: Analysis) -> tuple[list[NewResult], list[str]]:
    """Make the kinds of result that somebody takes durable; return them, and what could not be made and why.

    The findings report must be made. Another kind that cannot be made is left out, so that it does not hold up the report.
    """
    headers = _headers(node, item, analysis)
    classes = counted(image.sop_class_uid for image in analysis.inputs)
    audit.record(InstancesAccessed(study_instance_uid=item.study_instance_uid, patient_id=patient_id_of(headers), sop_classes=classes))
    encoded: list[EncodedResult] = []
    made, omitted = [], []
    for kind in ENCODERS:
        superseded = node.ledger.superseded_result(item, kind)
        destinations = _recipients(node, item, analysis, kind, superseded)
        if not destinations and kind != STANDING_RECORD:
            continue
        previous = None if superseded is None else _previous_report(node, item, superseded)
        try:
            result = _encoded(node, item, analysis, headers, kind=kind, previous=previous, companions=tuple(encoded))
        except (OSError, MemoryError):
            raise
        except Exception as exc:
            if kind == STANDING_RECORD:
                raise
            log.error("result_left_out", kind=kind, reason=describe(exc))  # noqa: TRY400 - a traceback may quote values
            omitted.append(f"{kind}: {describe(exc)}")
            continue
        if result is not None:
            encoded.append(result)
            made.append(_stored(node, result, destinations))
            if result.repairs:
                log.info("header_repaired", kind=kind, sop_instance_uid=result.sop_instance_uid, repairs=result.repairs)
    return made, omitted


def _encoded(
    node: Node,
    item: WorkItem,
    analysis: Analysis,
    headers: Sequence[Dataset],
    *,
    kind: str,
    previous: PreviousReport | None,
    companions: tuple[EncodedResult, ...],
) -> EncodedResult | None:
    made_by = producer(node.settings.node, node.settings.flags)
    if kind not in ILLUSTRATED:
        return ENCODERS[kind](analysis, headers, producer=made_by, previous=previous, companions=companions)
    files = [(file.sop_instance_uid, node.store.absolute(Path(file.path))) for file in decode_selection(item.selection).files]
    megapixels = node.settings.work.maximum_frame_megapixels
    pictures = pictures_of(images_to_show(analysis), files, heat=heat_to_show(analysis), maximum_megapixels=megapixels)
    return ILLUSTRATED[kind](
        analysis,
        headers,
        producer=made_by,
        previous=previous,
        companions=companions,
        pictures=pictures.plain,
        heat_pictures=pictures.under_heat,
    )


def _recipients(node: Node, item: WorkItem, analysis: Analysis, kind: str, superseded: SupersededResult | None) -> tuple[str, ...]:
    """Return who gets results of a kind. Whoever may have got what is withdrawn is told so, whatever is configured since."""
    if analysis.withdrawn is not None:
        return superseded.sent_to if superseded else ()
    named = node.catalogue.route(item.route).destinations
    taking = (destination.name for destination in node.settings.destinations if kind in destination.results)
    return tuple(name for name in taking if named is None or name in named)


def _with_flags(node: Node, analysis: Analysis) -> Analysis:
    """Return the analysis with the flags that may be raised, as it is decided and recorded once."""
    flags, now = node.settings.flags, node.clock()
    return decide_flags(analysis, catalogue=node.catalogue, settings=flags, ledger=node.ledger, now=now, observer=count_flag)


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


def _stored(node: Node, result: EncodedResult, destinations: tuple[str, ...]) -> NewResult:
    name = hashlib.sha256(result.sop_instance_uid.encode()).hexdigest()
    path = node.store.write_atomic(Path("results") / name[:2] / f"{name}{_ENDINGS[result.media_type]}", result.data)
    return NewResult(
        kind=result.kind,
        sop_class_uid=result.sop_class_uid,
        sop_instance_uid=result.sop_instance_uid,
        path=path,
        digest=hashlib.sha256(node.store.absolute(path).read_bytes()).hexdigest(),
        destinations=destinations,
    )


def _previous_report(node: Node, item: WorkItem, superseded: SupersededResult) -> PreviousReport:
    series, number = "", superseded.number
    if superseded.series_instance_uid is not None and superseded.instance_number is not None:
        series, number = superseded.series_instance_uid, superseded.instance_number
    elif superseded.sop_class_uid:
        report = dcmread(node.store.absolute(superseded.path), stop_before_pixels=True)
        series, number = str(report.SeriesInstanceUID), int(report.InstanceNumber)
    message = node.store.absolute(superseded.path)
    return PreviousReport(
        study_instance_uid=item.study_instance_uid,
        series_instance_uid=series,
        sop_class_uid=superseded.sop_class_uid,
        sop_instance_uid=superseded.sop_instance_uid,
        instance_number=number,
        data=message.read_bytes() if not superseded.sop_class_uid and message.exists() else b"",
    )
