"""The page of a demo run: one HTML file without any outside resource, with pictures, reasons and the reports beside them."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import jinja2
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from dicom_node.demo.worklist import (
    DISCLAIMER,
    SHADOW_NOTICE,
    DemoRow,
    Standing,
    defects,
    notes,
    quality_in_words,
    ranked,
    said,
    seconds_in_words,
    strongest,
)
from inference.explanation import Picture
from inference.findings import Analysis, QualityVerdict

NO_HEAT_MAPS: Mapping[str, Sequence[Picture]] = {}

_GREY, _COLOUR = 2, 3
_TONES = {
    Standing.EMERGENCY: "stop",
    Standing.URGENT: "stop",
    Standing.NON_DIAGNOSTIC: "look",
    Standing.DISAGREES: "look",
    Standing.COULD_NOT: "look",
    Standing.LIMITED: "look",
    Standing.NOTED: "plain",
    Standing.SCORES_ONLY: "plain",
    Standing.NOTHING_NOTED: "plain",
    Standing.QUALITY_ONLY: "quiet",
    Standing.NOT_ANALYSED: "quiet",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One summary figure: what was measured, and the number with its unit."""

    name: str
    value: str


def thumbnail_png(frame_pixels: NDArray[np.float32], side: int = 192) -> bytes:
    """A PNG at most `side` pixels wide and high, of display values in [0, 1]: grey (rows, columns) or RGB (rows, columns, 3).

    Raises:
        ValueError: another shape, or values outside [0, 1].
    """
    if frame_pixels.ndim != _GREY and (frame_pixels.ndim != _COLOUR or frame_pixels.shape[-1] != _COLOUR):
        raise ValueError(f"neither (rows, columns) nor (rows, columns, 3): {frame_pixels.shape}")
    if frame_pixels.size == 0 or not (frame_pixels.min() >= 0 and frame_pixels.max() <= 1):
        raise ValueError("display values must be in [0, 1]")
    image = Image.fromarray(np.round(frame_pixels * 255).astype(np.uint8))
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def write_page(
    path: Path,
    rows: Sequence[DemoRow],
    *,
    heat_maps: Mapping[str, Sequence[Picture]] = NO_HEAT_MAPS,
    images_per_s: float | None = None,
) -> None:
    """Write the page of a run.

    `heat_maps`: of each study, by its UID. `images_per_s` counts frames through the checks and models; left out if None.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("dicom_node.demo", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"png": _data_uri, "trusted": Markup}  # trusted: fragments that reporting has escaped itself
    page = environment.get_template("page.html.j2").render(
        rows=ranked(rows),
        figures=_figures(rows, images_per_s),
        disclaimer=DISCLAIMER,
        shadow_notice=SHADOW_NOTICE,
        tones=_TONES,
        notes=notes,
        strongest=strongest,
        defects=defects,
        clean=_clean,
        said=said,
        model=_model,
        quality_in_words=quality_in_words,
        seconds_in_words=seconds_in_words,
        heat_maps=heat_maps,
    )
    path.write_text(page, encoding="utf-8")


def _figures(rows: Sequence[DemoRow], images_per_s: float | None) -> tuple[Figure, ...]:
    waits = [row.seconds_to_report for row in rows if row.seconds_to_report is not None]
    figures = (
        Figure(name="studies sent", value=str(len(rows))),
        Figure(name="instances sent", value=str(sum(row.instances for row in rows))),
        Figure(name="reports in the archive", value=str(sum(len(row.reports) for row in rows))),
        Figure(name="median, last acknowledgement to report", value=f"{median(waits):.1f} s" if waits else "none"),
    )
    if images_per_s is None:
        return figures
    return (*figures, Figure(name="images analysed per second", value=f"{images_per_s:.1f}"))


def _clean(verdicts: Sequence[QualityVerdict]) -> tuple[str, ...]:
    """The checks that ran and found nothing on any image."""
    found = {verdict.check for verdict in defects(verdicts)}
    return tuple(sorted({verdict.check for verdict in verdicts} - found))


def _model(analysis: Analysis) -> str:
    if analysis.provenance is None:
        return "no model"
    terms = "not calibrated: in shadow" if analysis.in_shadow else f"calibration {analysis.provenance.calibration_id}"
    return f"{analysis.provenance.model} {analysis.provenance.version}, {terms}"


def _data_uri(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode('ascii')}"
