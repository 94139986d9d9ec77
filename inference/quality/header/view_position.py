"""Do the statements about the view of a radiograph contradict each other, or what the model sees?"""

from collections.abc import Iterator, Mapping

from inference.attributes import items, text, texts
from inference.findings import QualityVerdict
from inference.quality.check import RADIOGRAPHS, Limit
from inference.quality.header.check import MARKER_INCORRECT, HeaderSubject, header_verdict
from inference.quality.header.sure import SURE

LIMIT = Limit(
    value=0,
    unit="{contradictions}",
    source=(
        "PS3.3 C.8.11.5 and C.7.6.1.1.1: View Position, View Code and Patient Orientation describe one beam; none may contradict another"
    ),
)

_FRONTAL, _LATERAL = "frontal", "lateral"
_POSITIONS: Mapping[str, str] = {  # View Position (0018,5101), PS3.3 C.8.11.5.1.2; the terms of every other projection say nothing
    **dict.fromkeys(("AP", "PA"), _FRONTAL),
    **dict.fromkeys(("LL", "RL", "LATERAL", "LAT"), _LATERAL),
}
_CODES: Mapping[str, str] = {  # View Code Sequence, CID 4010, in SNOMED CT and as it was in SRT
    **dict.fromkeys(("399348003", "272479007", "R-10206", "R-10214"), _FRONTAL),
    **dict.fromkeys(("399173006", "399198007", "399067008", "R-10236", "R-10232"), _LATERAL),
}
_KINDS: Mapping[str, str] = {
    "frontal": _FRONTAL,
    "pa": _FRONTAL,
    "ap": _FRONTAL,
    "lateral": _LATERAL,
}  # words in the name of a gate's kind


class ViewPosition:
    """View Position, View Code and the direction of the rows (Patient Orientation), and the model's kind if its name says a view.

    Measured: the statements that differ from the first. The model that ships knows no views; one whose gate has kinds such as
    `chest-radiograph-lateral` is heard where it is sure.
    """

    name = "view-position"

    def __call__(self, subject: HeaderSubject) -> QualityVerdict | None:
        if subject.modality not in RADIOGRAPHS:
            return None
        stated = tuple(_stated(subject))
        if len(stated) < 2:  # noqa: PLR2004 - one statement contradicts nothing
            return None
        others = sum(view != stated[0][1] for _, view in stated)
        told = ", ".join(f"{by} says {view}" for by, view in stated)
        return header_verdict(
            self.name,
            subject,
            measured=others,
            limit=LIMIT,
            found=others > LIMIT.value,
            code=MARKER_INCORRECT,
            good="All that the header says of the view agrees.",
            bad=f"What is said of the view does not agree: {told}.",
        )


def _stated(subject: HeaderSubject) -> Iterator[tuple[str, str]]:
    header = subject.header
    if view := _POSITIONS.get(text(header, "ViewPosition")):
        yield "View Position", view
    for item in items(header, "ViewCodeSequence")[:1]:
        if view := _CODES.get(text(item, "CodeValue")):
            yield "View Code", view
    if view := _by_rows(texts(header, "PatientOrientation")):
        yield "Patient Orientation", view
    shown = subject.shown
    if shown is not None and shown.share >= SURE:
        for word in shown.label.split("-"):
            if view := _KINDS.get(word):
                yield "the model", view


def _by_rows(orientation: tuple[str, ...]) -> str:
    """Rows of an upright frontal view run left to right, those of a lateral one front to back (PS3.3 C.7.6.1.1.1)."""
    if len(orientation) != len(("row", "column")) or orientation[1] not in {"F", "H"}:
        return ""
    return {"L": _FRONTAL, "R": _FRONTAL, "A": _LATERAL, "P": _LATERAL}.get(orientation[0], "")
