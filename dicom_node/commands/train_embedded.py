"""`dicom-node train-embedded`: train the model that ships, from the training pack, with one command."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from config.catalogue import weights_folder
from dicom_node.commands.opening import USAGE, stop_with

if TYPE_CHECKING:
    from inference.embedded.training.pack import PackRow

_SHIPPED = "package:inference/embedded/gatekeeper"


def train_embedded(
    *,
    data: Annotated[Path, typer.Option("--data", help="Folder of the training pack (Parquet files).", exists=True, file_okay=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the model; a broken-off run there goes on.")],
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    seed: Annotated[int, typer.Option(help="Seed of everything that is drawn.")] = 20,
    without: Annotated[list[str] | None, typer.Option(help="Data set of the pack to leave out, by its name; may be repeated.")] = None,
    sentence_encoder: Annotated[
        Path | None,
        typer.Option(
            help="BERT sentence encoder in Hugging Face layout to take new word vectors from; without it those of the model that ships."
        ),
    ] = None,
) -> None:
    """Train the embedded model again. The result lies in the output folder in open_clip layout, with the curve of the losses.

    Example: dicom-node train-embedded --data pack --output gatekeeper
    """
    import torch  # noqa: PLC0415 - seconds to import

    from inference.embedded.training.curve import draw_curve  # noqa: PLC0415
    from inference.embedded.training.pack import PackError, read_pack  # noqa: PLC0415
    from inference.embedded.training.run import Plan, TrainingError, train  # noqa: PLC0415
    from inference.embedded.training.vocabulary import distil_words  # noqa: PLC0415

    if device not in {"auto", "cpu", "cuda"} or (device == "cuda" and not torch.cuda.is_available()):
        stop_with(f"cannot train on {device!r}; take auto, cpu, or cuda where there is a CUDA device", USAGE)
    where = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("Reading the pack", total=None)

        def on_step(step: int, steps: int, loss: float) -> None:
            progress.update(task, completed=step, total=steps, description=f"Training on {where}, loss {loss:.3f}")

        try:
            rows = _kept(read_pack(data, "train"), without or ())
            words_from = weights_folder(_SHIPPED)
            if sentence_encoder is not None:
                progress.update(task, description="Distilling word vectors")
                words_from = output / "words"
                distil_words(sentence_encoder, words_from)
            train(rows, words_from, output, Plan(device=where, seed=seed), on_step=on_step)
        except (PackError, TrainingError, OSError) as exc:
            stop_with(str(exc))
    draw_curve(output)


def _kept(rows: "tuple[PackRow, ...]", without: Sequence[str]) -> "tuple[PackRow, ...]":
    known = {row.dataset for row in rows}
    for name in without:
        if name not in known:
            stop_with(f"the pack has no data set {name!r}; it has: {', '.join(sorted(known))}", USAGE)
    return tuple(row for row in rows if row.dataset not in without)
