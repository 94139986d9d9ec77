"""Does what the series says about contrast medium contradict what was requested?"""

import enum
import re
from collections.abc import Iterable

from pydicom import Dataset

from inference.attributes import items, text
from inference.findings import QualityVerdict
from inference.quality.check import Limit
from inference.quality.series.check import NOT_AS_REQUESTED, SeriesSubject, series_verdict

LIMIT = Limit(
    value=0,
    unit="{contradictions}",
    source="Agent and description against the words of the request; tried on 11 written pairs, not measured on real requests",
)

# Words in capitals, as `text` gives them. Without comes first: "WITHOUT CONTRAST" also has the words of "CONTRAST".
_WITHOUT = re.compile(
    r"\b(W/?O|WITHOUT|NO|NON|OHNE|SANS|SENZA|SIN)[ -]*(IV[ -]*)?(CON\b|CONTR?\b|CONTRAST\w*|KM\b|PDC\b|MDC\b|CIV\b|GAD\w*|ENHANCED\b)"
    r"|\bNON[ -]?CON\w*|\bUNENHANCED\b|\bNECT\b|\bNATIVE?\b(?! *(KIDNEY|RENAL|LIVER|VALVE|VESSEL|CORONAR|AORT))|\bC-(?![A-Z0-9])"
    r"|\bPRE[ -]?(CON\w*|GAD\w*|KM)"
)
_WITH = re.compile(
    r"\b(W|WITH|POST|MIT|AVEC|CON|NACH)[ /-]*(IV[ -]*)?(CON\b|CONTR?\b|CONTRAST\w*|KM\b|PDC\b|MDC\b|CIV\b|GAD\w*|DOTAREM)"
    r"|\bCECT\b|\bENHANCED\b|\bCE[ -](CT|MR|MRA)\b|\bC\+|\bGD\b"
)
# Of CT alone: MR shows arteries and veins without contrast medium as well.
_PHASE = re.compile(r"\bCTA\b|\bCTPA\b|\b(ARTERIAL|VENOUS|PORTAL\w*|NEPHROGRAPHIC|EXCRETORY|ARTERIELL|VENOES|VENÖS|PORTALVENOES)\b")
_BOTH = re.compile(
    r"\b(W|WITH|MIT|AVEC)\b[^;]{0,15}\b(W/?O|WITHOUT|OHNE|SANS)\b|\b(W/?O|WITHOUT|OHNE|SANS)\b[^;]{0,15}\b(W(?!/?O)|WITH|MIT|AVEC)\b"
)
_NONE_GIVEN = frozenset({"NONE", "NO", "N", "NO CONTRAST", "WITHOUT", "NEIN", "KEIN", "OHNE", "NON", "NOT GIVEN", "0"})

_ENHANCED_BY_VESSELS = frozenset({"CT", "MR"})


class _Medium(enum.Enum):
    GIVEN = "given"
    NOT_GIVEN = "not given"
    BOTH = "both"
    UNKNOWN = "unknown"


class ContrastMedium:
    """A request without contrast medium and a series with it; or, in CT, a request with it alone and a series that says it is native.

    Compared: Contrast/Bolus Agent (0018,0010), Series Description and Protocol Name with the descriptions of the request. Measured: 1 if
    they contradict each other. Words that are not understood say nothing.
    """

    name = "contrast-medium"

    def __call__(self, series: SeriesSubject) -> QualityVerdict | None:
        header = series.headers[0]
        if series.modality not in _ENHANCED_BY_VESSELS:
            return None
        requested, done = _requested(header), _done(series.headers)
        if _Medium.UNKNOWN in {requested, done}:
            return None
        too_much = requested is _Medium.NOT_GIVEN and done is _Medium.GIVEN
        too_little = requested is _Medium.GIVEN and done is _Medium.NOT_GIVEN and series.modality == "CT"
        asked, found = ("without", "it was given") if too_much else ("with", "none was given")
        return series_verdict(
            self.name,
            series,
            measured=float(too_much or too_little),
            limit=LIMIT,
            code=NOT_AS_REQUESTED,
            good="What the series says about contrast medium fits the request.",
            bad=f"The request asks for an examination {asked} contrast medium, the series says that {found}.",
        )


def _requested(header: Dataset) -> _Medium:
    requests = items(header, "RequestAttributesSequence")
    return _in_words(
        text(dataset, keyword)
        for dataset in (header, *requests)
        for keyword in ("RequestedProcedureDescription", "ScheduledProcedureStepDescription")
    )


def _done(headers: Iterable[Dataset]) -> _Medium:
    told = {(text(one, "Modality"), text(one, "SeriesDescription"), text(one, "ContrastBolusAgent")) for one in headers}
    said = {_said(modality, description, agent) for modality, description, agent in told}
    if _Medium.GIVEN in said:
        return _Medium.GIVEN
    return _Medium.NOT_GIVEN if said == {_Medium.NOT_GIVEN} else _Medium.UNKNOWN


def _said(modality: str, description: str, agent: str) -> _Medium:
    """The description first: the agent may be noted for every series of a study, the one before it was given included."""
    described = _in_words([description])
    if described is _Medium.UNKNOWN and modality == "CT" and _PHASE.search(description):
        described = _Medium.GIVEN
    if described is not _Medium.UNKNOWN or not agent:
        return described
    return _Medium.NOT_GIVEN if agent in _NONE_GIVEN else _Medium.GIVEN


def _in_words(descriptions: Iterable[str]) -> _Medium:
    found = " ; ".join(filter(None, descriptions))
    without = bool(_WITHOUT.search(found))
    given = bool(_WITH.search(_WITHOUT.sub(" ", found)))
    if _BOTH.search(found) or (without and given):
        return _Medium.BOTH
    if without:
        return _Medium.NOT_GIVEN
    return _Medium.GIVEN if given else _Medium.UNKNOWN
