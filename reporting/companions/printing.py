"""Sheets written as a PDF: dark on white, text that can be searched, fonts embedded, nothing that acts or is fetched (as PDF/A asks)."""

from collections.abc import Sequence
from functools import cache
from io import BytesIO

from reportlab.lib.utils import ImageReader
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas

from reporting.companions import lettering
from reporting.companions.lettering import Face
from reporting.companions.sheet import WIDTH, Box, Ink, Loop, Mark, Photo, Scale, Sheet, Words

A4_HEIGHT = 1448  # of a sheet that is 1024 wide, so that it fills A4
_A4_POINTS = (595.276, 841.89)
_SCALE = _A4_POINTS[0] / WIDTH
_PALETTE = {
    Ink.PAPER: (1.0, 1.0, 1.0),
    Ink.PANEL: (0.9, 0.92, 0.94),
    Ink.RULE: (0.78, 0.81, 0.84),
    Ink.TEXT: (0.08, 0.1, 0.12),
    Ink.DIM: (0.33, 0.37, 0.42),
    Ink.WARNING: (0.96, 0.77, 0.2),
    Ink.ON_WARNING: (0.1, 0.07, 0.0),
    Ink.ALARM: (0.72, 0.11, 0.11),
    Ink.ON_ALARM: (1.0, 1.0, 1.0),
    Ink.BAR: (0.45, 0.52, 0.6),
    Ink.OUTLINE: (1.0, 0.69, 0.23),
    Ink.OUTLINE_ON_HEAT: (1.0, 1.0, 1.0),
    Ink.SHADOW_ON_HEAT: (0.0, 0.0, 0.0),
}
_ON_PAPER = {Ink.WARNING: (0.52, 0.36, 0.0)}  # words: yellow letters on white are not read


def printed(sheets: Sequence[Sheet], *, title: str, creator: str) -> bytes:
    """Return the sheets as a PDF of A4 pages. The same sheets give the same bytes."""
    file = BytesIO()
    used = {run for sheet in sheets for mark in sheet.marks if isinstance(mark, Words) for run, _ in _runs(mark)}
    for face in (Face.PLAIN, *sorted(used - {Face.PLAIN}, key=lambda face: face.name)):
        _register(face)
    plain = Face.PLAIN.name
    canvas = Canvas(file, pagesize=_A4_POINTS, invariant=1, pageCompression=1, lang="en", initialFontName=plain)
    canvas.setTitle(title)
    canvas.setAuthor(creator)
    canvas.setCreator(creator)
    for sheet in sheets:
        for mark in sheet.marks:
            _draw(canvas, mark)
        canvas.showPage()
    canvas.save()
    return file.getvalue()


@cache
def _register(face: Face) -> None:
    pdfmetrics.registerFont(TTFont(face.name, BytesIO(face.data)))


def _draw(canvas: Canvas, mark: Mark) -> None:
    match mark:
        case Words():
            canvas.setFillColorRGB(*_ON_PAPER.get(mark.ink, _PALETTE[mark.ink]))
            x = mark.x
            for face, run in _runs(mark):
                canvas.setFont(face.name, mark.size * _SCALE)
                canvas.drawString(x * _SCALE, _up(mark.y), run)
                x += lettering.font(face, 100).getlength(run) * mark.size / 100
        case Box():
            canvas.setFillColorRGB(*_PALETTE[mark.ink])
            canvas.rect(mark.x * _SCALE, _up(mark.y + mark.height), mark.width * _SCALE, mark.height * _SCALE, stroke=0, fill=1)
        case Loop():
            path = canvas.beginPath()
            path.moveTo(mark.points[0][0] * _SCALE, _up(mark.points[0][1]))
            for x, y in mark.points[1:]:
                path.lineTo(x * _SCALE, _up(y))
            path.close()
            canvas.setStrokeColorRGB(*_PALETTE[mark.ink])
            canvas.setLineWidth(mark.width * _SCALE)
            canvas.drawPath(path)
        case Photo():
            picture = ImageReader(BytesIO(mark.picture.png))
            canvas.drawImage(picture, mark.x * _SCALE, _up(mark.y + mark.height), mark.width * _SCALE, mark.height * _SCALE)
        case Scale():
            part = mark.width / len(mark.colours)
            for number, colour in enumerate(mark.colours):
                canvas.setFillColorRGB(*(value / 255 for value in colour))
                left = mark.x + number * part  # to the end: parts that only touch show hairs of paper between them
                canvas.rect(left * _SCALE, _up(mark.y + mark.height), (mark.x + mark.width - left) * _SCALE, mark.height * _SCALE, 0, 1)


def _runs(words: Words) -> tuple[tuple[Face, str], ...]:
    return lettering.runs(words.text, bold=words.bold)


def _up(y: float) -> float:
    """PDF measures from the bottom."""
    return _A4_POINTS[1] - y * _SCALE
