"""`dicom-node frames`: what the model would be shown of each object, on a contact sheet, with what was done to it in words."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import typer
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.uid import UID
from rich.console import Console
from rich.progress import Progress, track
from rich.table import Table

from config import Catalogue, load
from config.manifests import ModelManifest
from config.views import ViewsSection
from dicom_node.commands.opening import FAILED, USAGE, ConfigOption, JsonOption, settings_and_catalogue, stop_with
from dicom_node.contact_sheet import Tile, pages, small
from dicom_node.emulator import files_in
from inference.attributes import text, uid
from inference.contrast import contrasted
from inference.explanation.picture import png
from inference.frames import Frame, UndecodableError, read_frames
from inference.reading import colour_refusal
from inference.selection import ChosenFrames, SelectedInstance, choose_frames
from inference.views import SampledRanges, viewed

_CODE_STRING_LENGTH = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownFrame:
    """What became of one frame. `rows` and `columns` are of what is shown, `crop` is where that begins in the image; 0 without a frame.

    `steps` says in words how it came from the stored values, `reason` why nothing is shown.
    """

    number: int
    path: Path
    sop_instance_uid: str
    frame_number: int
    modality: str
    transfer_syntax: str
    rows: int
    columns: int
    crop: tuple[int, int]
    steps: tuple[str, ...]
    reason: str


_Toward = Callable[[Frame], NDArray[np.float32]]


def _installed(beginning: str) -> list[str]:
    _, catalogue = load(None)
    return [manifest.name for manifest in catalogue.manifests if manifest.name.startswith(beginning)]


def frames(
    *,
    paths: Annotated[list[Path], typer.Argument(help="DICOM files, and folders of them.", exists=True)],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="PNG file of the sheet; further pages get a number.", dir_okay=False)
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="Show what this model's manifest asks for, at its size.", autocompletion=_installed),
    ] = None,
    each: Annotated[int, typer.Option("--frames-each", min=1, max=64, help="Frames of each object, evenly spread.")] = 1,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Frames: draw a contact sheet of what a model is shown of each object, and tell what was done to it, or why there is no frame.

    Without --model the views are the defaults. The pixels are shown as they are: a name that is burnt into them is on the sheet too.

    Example: dicom-node frames study-folder --output sheet.png
    """
    settings, catalogue = settings_and_catalogue(config)
    manifest = _manifest(catalogue, model)
    console = Console(stderr=True)
    instances = [_instance(path) for path in track(files_in(paths), "Reading headers", console=console, transient=True)]
    if not instances:
        stop_with("there are no files")
    shown: list[ShownFrame] = []
    tiles: list[Tile] = []
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("Showing frames", total=len(instances))
        for found, picture in _shown(instances, manifest, each, settings.work.maximum_frame_megapixels, lambda: progress.advance(task)):
            shown.append(found)
            tiles.append(Tile(pixels=picture, title=_title(found), words=_words(found)))
    written = _write(output, tiles) if output is not None else ()
    if as_json:
        typer.echo(msgspec.json.encode(shown, enc_hook=str).decode())
    else:
        _print(shown, written)
    if all(found.reason for found in shown):
        raise typer.Exit(FAILED)


def _manifest(catalogue: Catalogue, name: str | None) -> ModelManifest | None:
    if name is None:
        return None
    try:
        return catalogue.manifest(name)
    except KeyError:
        stop_with(f"no model {name!r}; installed: {', '.join(manifest.name for manifest in catalogue.manifests)}", USAGE)


def _instance(path: Path) -> SelectedInstance:
    """A file that cannot be parsed has an empty header; the reason is told when its frames are read."""
    try:
        return SelectedInstance(path=path, header=dcmread(path, stop_before_pixels=True, force=True))
    except Exception:  # noqa: BLE001 - a file of anything raises anything; it is told and left out
        return SelectedInstance(path=path, header=Dataset())


def _shown(
    instances: Sequence[SelectedInstance], manifest: ModelManifest | None, each: int, maximum_megapixels: float, advance: Callable[[], None]
) -> Iterator[tuple[ShownFrame, NDArray[np.uint8] | None]]:
    chosen = [_chosen(instance, each) for instance in instances]
    ranges = SampledRanges([choice for choices in chosen for choice in choices], maximum_megapixels=maximum_megapixels)
    toward = _as_shown if manifest is None else _at_the_models_size(manifest)
    number = 0
    for instance, choices in zip(instances, chosen, strict=True):
        for found, picture in _of_instance(
            instance, choices, manifest, ranges=ranges, toward=toward, maximum_megapixels=maximum_megapixels
        ):
            number += 1
            yield replace(found, number=number), picture
        advance()


def _chosen(instance: SelectedInstance, each: int) -> tuple[ChosenFrames, ...]:
    return tuple(choice for choice in choose_frames([instance], maximum_frames=each) if choice.frame_numbers)


def _of_instance(
    instance: SelectedInstance,
    choices: Sequence[ChosenFrames],
    manifest: ModelManifest | None,
    *,
    ranges: SampledRanges,
    toward: _Toward,
    maximum_megapixels: float,
) -> Iterator[tuple[ShownFrame, NDArray[np.uint8] | None]]:
    header, wanted = instance.header, ViewsSection() if manifest is None else manifest.views
    nothing = ShownFrame(
        number=0,
        path=instance.path,
        sop_instance_uid=uid(header, "SOPInstanceUID"),
        frame_number=0,
        modality=_modality(header),
        transfer_syntax=_transfer_syntax(header),
        rows=0,
        columns=0,
        crop=(0, 0),
        steps=(),
        reason="",
    )
    try:
        for choice in choices:
            for frame in read_frames(instance.path, choice.frame_numbers, maximum_megapixels=maximum_megapixels):
                view = viewed(frame, header, wanted, ranges)
                reason = "" if manifest is None else colour_refusal(view, manifest)
                found = replace(
                    nothing,
                    frame_number=frame.ref.frame_number or 1,
                    rows=view.pixels.shape[0],
                    columns=view.pixels.shape[1],
                    crop=view.crop,
                    steps=view.steps,
                    reason=reason,
                )
                yield found, None if reason else small(toward(view))
    except UndecodableError as exc:
        yield replace(nothing, reason=_without_subject(str(exc))), None


def _as_shown(frame: Frame) -> NDArray[np.float32]:
    return frame.pixels


def _at_the_models_size(manifest: ModelManifest) -> _Toward:
    """What the image tower gets, brought back to brightness: its square, its padding, what it crops."""
    from inference.preprocessing import preprocessor  # noqa: PLC0415 - torch takes seconds to import; without a model it is not needed

    steps = manifest.preprocessing
    prepare, full = preprocessor(steps), 255.0 if steps.resize_mode == "grey-canvas" else 1.0
    contrast = manifest.looks.contrast if manifest.looks else ()

    def toward(frame: Frame) -> NDArray[np.float32]:
        values = prepare(replace(frame, pixels=contrasted(frame.pixels, contrast))).numpy()
        mean, std = (np.array(one, dtype=np.float32)[:, None, None] for one in (steps.mean, steps.std))
        return np.ascontiguousarray(((values * std + mean) / np.float32(full)).transpose(1, 2, 0))

    return toward


def _modality(header: Dataset) -> str:
    """The Modality, if it is a code string as it should be."""
    found = text(header, "Modality")
    return found if found.isascii() and found.isalnum() and len(found) <= _CODE_STRING_LENGTH else ""


def _transfer_syntax(header: Dataset) -> str:
    found = uid(getattr(header, "file_meta", Dataset()), "TransferSyntaxUID")
    return UID(found).name if found else "no transfer syntax"


def _without_subject(message: str) -> str:
    """The reason alone: the sheet names the object already."""
    return message.partition(": ")[2] or message


def _title(found: ShownFrame) -> str:
    size = f" {found.rows} x {found.columns}" if found.rows else ""
    frame = f" frame {found.frame_number}" if found.frame_number > 1 else ""
    return f"{found.number}  {found.modality or '(no modality)'}{size}{frame}"


def _words(found: ShownFrame) -> str:
    return f"{found.transfer_syntax}; {found.reason or '; '.join(found.steps) or 'as stored'}"


def _write(output: Path, tiles: Sequence[Tile]) -> tuple[Path, ...]:
    written = []
    try:
        for number, page in enumerate(pages(tiles), start=1):
            path = output if number == 1 else output.with_stem(f"{output.stem}-{number}")
            path.write_bytes(png(page, caption="What the model is shown of each object. Not for diagnosis."))
            written.append(path)
    except OSError as exc:
        stop_with(f"cannot write {output}: {exc.strerror}")
    return tuple(written)


def _print(shown: Sequence[ShownFrame], written: Sequence[Path]) -> None:
    table = Table("#", "file", "modality", "size", "transfer syntax", "what was done, or why there is no frame")
    for found in shown:
        words = f"[yellow]{found.reason}[/yellow]" if found.reason else "; ".join(found.steps)
        size = f"{found.rows} x {found.columns}" if found.rows else ""
        table.add_row(str(found.number), found.path.name, found.modality, size, found.transfer_syntax, words)
    console = Console()
    console.print(table)
    for path in written:
        console.print(f"Sheet: {path.resolve()}", soft_wrap=True, highlight=False)
