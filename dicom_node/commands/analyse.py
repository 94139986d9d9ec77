"""`dicom-node analyse`: routing, quality and models on files, without any PACS. The researcher's door."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from pydicom import Dataset, dcmread
from pydicom.uid import UID
from rich.console import Console
from rich.progress import Progress, track
from rich.table import Table

from config import Catalogue
from config.schema import Settings
from dicom_node.analysis_page import findings_in_words, quality_in_words, reasons_in_words, write_page
from dicom_node.commands.opening import FAILED, ConfigOption, JsonOption, settings_and_catalogue, stop_with
from dicom_node.delivery import utc_now
from dicom_node.emulator import files_in
from dicom_node.routing.rules import RoutableInstance, RoutedStudy, route_study
from dicom_node.version import producer
from inference.analysis import SelectedInstance
from inference.analysis import analyse as analyse_instances
from inference.explanation import Explain, Illustrated, Picture, explain
from inference.findings import Analysis, Exclusion, ImageRef
from reporting import ENCODERS, STANDING_RECORD

if TYPE_CHECKING:
    from inference.engine import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A file that is no analysable instance, and why."""

    path: Path
    reason: str


def analyse(  # noqa: PLR0917 - options of a command
    paths: Annotated[list[Path], typer.Argument(help="Files and folders.", exists=True)],
    output: Annotated[
        Path | None, typer.Option("--output", "--reports", "-o", help="Folder for a page, heat maps and the Structured Reports.")
    ] = None,
    heat_maps: Annotated[bool, typer.Option(help="Show on the page where each model looked; takes a second or more a finding.")] = True,
    calling_ae_title: Annotated[str, typer.Option("--calling", help="Route as if this AE title had sent the files.")] = "FILES",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Analyse: run routes, image quality and models on files, and print what they say. Nothing is sent anywhere.

    Example: dicom-node analyse study-folder --output out
    """
    from inference.engine import Engine, EngineOptions  # noqa: PLC0415 - torch takes seconds to import; no other command needs it

    settings, catalogue = settings_and_catalogue(config)
    console = Console(stderr=True)
    files = files_in(paths)
    studies, skipped = _studies(track(files, "Reading headers", console=console, transient=True))
    if not studies:
        stop_with(f"none of {len(files)} files is a DICOM instance with a Study Instance UID")
    work = settings.work
    engine = Engine(catalogue, device=work.device, batch_size=work.batch_size, cache_folder=None, options=EngineOptions.of(work))
    analyses: list[Illustrated] = []
    which = Explain.SHOWN if output is not None and heat_maps else Explain.OFF
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("Analysing", total=len(studies))
        for uid, instances in studies.items():
            routable = [RoutableInstance(header=header, calling_ae_title=calling_ae_title, carried=path) for path, header in instances]
            for routed in route_study(routable, catalogue.routes):
                made = _analysed(uid, routed, settings=settings, catalogue=catalogue, engine=engine, which=which)
                analyses.append(made)
                if output is not None:
                    _write_reports(output, made.analysis, [one.header for one in routed.selected], settings)
            progress.advance(task)
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        write_page(output, analyses, [f"{left.path}: {left.reason}" for left in skipped])
    if as_json:
        answer = {"analyses": [made.analysis for made in analyses], "skipped": skipped}
        typer.echo(msgspec.json.encode(answer, enc_hook=str).decode())
    else:
        _print([made.analysis for made in analyses], skipped)
    if skipped and len(skipped) == len(files):
        raise typer.Exit(FAILED)


def _studies(files: Iterable[Path]) -> tuple[dict[str, list[tuple[Path, Dataset]]], tuple[Skipped, ...]]:
    studies: dict[str, list[tuple[Path, Dataset]]] = {}
    skipped = []
    for path in files:
        try:
            header = dcmread(path, stop_before_pixels=True, force=True)
            uid, sop_class, sop = (str(header.get(name, "")) for name in ("StudyInstanceUID", "SOPClassUID", "SOPInstanceUID"))
        except Exception as exc:  # noqa: BLE001 - a file of anything raises anything; it is told and left out
            skipped.append(Skipped(path=path, reason=f"cannot be parsed ({type(exc).__name__})"))
            continue
        if not all(UID(value).is_valid for value in (uid, sop_class, sop)):
            skipped.append(Skipped(path=path, reason="no DICOM instance: Study Instance, SOP Class or SOP Instance UID missing or invalid"))
            continue
        studies.setdefault(uid, []).append((path, header))
    return studies, tuple(skipped)


def _analysed(
    uid: str, routed: RoutedStudy[Path], *, settings: Settings, catalogue: Catalogue, engine: "Engine", which: Explain
) -> Illustrated:
    selected = tuple(SelectedInstance(path=one.carried, header=one.header) for one in routed.selected)
    tile_maps: list[Picture] = []
    analysis = analyse_instances(
        study_instance_uid=uid,
        revision=1,
        route=routed.route,
        selected=selected,
        excluded=tuple(Exclusion(image=_reference(out.instance.header), reason=out.reason) for out in routed.left_out),
        engine=engine,
        catalogue=catalogue,
        site=settings.node.site,
        analysed_at=utc_now(),
        maximum_frame_megapixels=settings.work.maximum_frame_megapixels,
        show=None if which is Explain.OFF else tile_maps.append,
    )
    made = explain(
        analysis,
        selected=selected,
        route=routed.route,
        scorer=engine,
        catalogue=catalogue,
        which=which,
        maximum_frame_megapixels=settings.work.maximum_frame_megapixels,
    )
    return Illustrated(analysis=made.analysis, pictures=(*made.pictures, *tile_maps))


def _reference(header: Dataset) -> ImageRef:
    return ImageRef(sop_class_uid=str(header.SOPClassUID), sop_instance_uid=str(header.SOPInstanceUID))


def _write_reports(folder: Path, analysis: Analysis, headers: Sequence[Dataset], settings: Settings) -> None:
    inputs = {image.sop_instance_uid for image in analysis.inputs}
    used = [header for header in headers if header.SOPInstanceUID in inputs]
    folder.mkdir(parents=True, exist_ok=True)
    for kind in (STANDING_RECORD, "sr-regions"):
        result = ENCODERS[kind](analysis, used, producer=producer(settings.node), previous=None)
        if result is not None:
            (folder / f"{result.sop_instance_uid}.dcm").write_bytes(result.data)


def _print(analyses: Sequence[Analysis], skipped: Sequence[Skipped]) -> None:
    table = Table(title="Not a diagnosis. Scores that are not calibrated for this site are shown, never flagged.", title_justify="left")
    for column in ("Study Instance UID", "Route", "Outcome", "Findings", "Image quality", "Not answered, because"):
        table.add_column(column, overflow="fold")
    for analysis in analyses:
        findings, quality, reasons = findings_in_words(analysis), quality_in_words(analysis), reasons_in_words(analysis)
        answers = ("\n".join(findings), "; ".join(quality), "\n".join(reasons))
        table.add_row(analysis.study_instance_uid, analysis.route, analysis.outcome.value, *answers)
    console = Console()
    console.print(table)
    for left in skipped:
        console.print(f"skipped {left.path}: {left.reason}", style="yellow", highlight=False)
