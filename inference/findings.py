"""What an analysis found: the values that travel from the models to the reports. No I/O, no DICOM objects, no torch."""

import enum
import math
import sys
from dataclasses import dataclass
from datetime import datetime

from config import Code

_CORNERS_OF_A_TRIANGLE = 3
_HUNDREDTHS = 100


class Presence(enum.StrEnum):
    """CID 240 (PS3.16): is the finding there?"""

    PRESENT = "present"
    ABSENT = "absent"
    UNDETERMINED = "undetermined"


class FlagLevel(enum.IntEnum):
    """How far a result raises a study on the reading worklist. A flag only ever raises: there is no level below NONE."""

    NONE = 0
    URGENT = 1
    EMERGENCY = 2


class QualityGrade(enum.IntEnum):
    """CID 7036 (PS3.16), worst last."""

    DIAGNOSTIC = 0
    LIMITED = 1
    NON_DIAGNOSTIC = 2


class Outcome(enum.StrEnum):
    """CID 6042 (PS3.16): how far the analysis of a study went."""

    SUCCEEDED = "succeeded"
    PARTIAL = "partial"
    FAILED = "failed"
    NOT_ATTEMPTED = "not attempted"


class AbstentionReason(enum.StrEnum):
    """Why the node does not answer for an image, a series or a study. Always reported, never silence."""

    NO_ROUTE = "no route"
    NO_MODEL = "no model"
    NOTHING_TO_ANALYSE = "nothing to analyse"
    UNREADABLE = "unreadable"
    UNSUPPORTED = "unsupported"
    GATE_DISAGREES = "gate disagrees"
    QUALITY = "quality"
    LATERALITY = "laterality"
    MODEL_FAILED = "model failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRef:
    """One SOP Instance, or one frame of it. `frame_number` is 1-based as DICOM counts; None means the whole instance."""

    sop_class_uid: str
    sop_instance_uid: str
    frame_number: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """Where on an image a finding is: a closed polygon, its last point not a repetition of the first.

    `points` are (column, row) in pixels and their fractions, (0.0, 0.0) the outer corner of the first pixel (PS3.3 C.18.6.1.2).

    Raises:
        ValueError: fewer than three points, or one that is negative or no number.
    """

    image: ImageRef
    points: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        if len(self.points) < _CORNERS_OF_A_TRIANGLE or self.points[0] == self.points[-1]:
            raise ValueError("a region needs three points or more, the last not the first again")
        if not all(math.isfinite(value) and value >= 0 for point in self.points for value in point):
            raise ValueError("a region needs finite coordinates of at least 0")

    @classmethod
    def box(cls, image: ImageRef, *, left: float, top: float, right: float, bottom: float) -> "Region":
        """Return the rectangle between two columns and two rows."""
        return cls(image=image, points=((left, top), (right, top), (right, bottom), (left, bottom)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Which build of which model answered, and with which words.

    `weights_digest` and `prompt_set_digest` are SHA-256 in hexadecimal. `calibration_id` is None for a model that was
    not calibrated for this site: such a model is in shadow, its scores are reported and nothing is flagged.
    """

    model: str
    version: str
    manufacturer: str
    weights_digest: str
    prompt_set: str
    prompt_set_digest: str
    calibration_id: str | None
    intended_use: str
    parameters: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """The number a recipe gave one label on one image, in [0, 1], before any threshold. Not a probability.

    `others`: the further images that were scored together with `image`, such as the other eye of a patient. `key_images`: where the
    value is of many frames together, those with the highest scores, best first, `image` among them.
    """

    label: str
    value: float
    image: ImageRef
    others: tuple[ImageRef, ...] = ()
    key_images: tuple[ImageRef, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One label on one image, or on the patient from several images, after the decision.

    `score` is in [0, 1]; it is a calibrated probability if and only if `calibrated`. `threshold` is on the same scale
    and None in shadow, where presence is always UNDETERMINED and the flag NONE. `others` are the further images of an answer
    about the patient: the right eye beside the left one in `image`. `key_images` are the frames of a series or cine that show it best,
    `image` first; empty if it was not pooled from several. `regions` say where on these images it is, if that is known.
    """

    label: str
    concept: Code
    site: Code | None
    presence: Presence
    score: float
    calibrated: bool
    threshold: float | None
    threshold_source: str
    flag: FlagLevel
    image: ImageRef
    others: tuple[ImageRef, ...] = ()
    key_images: tuple[ImageRef, ...] = ()
    regions: tuple[Region, ...] = ()

    @property
    def images(self) -> tuple[ImageRef, ...]:
        """All images that a report names for it."""
        return tuple(dict.fromkeys((self.image, *self.others, *self.key_images)))


HEAT_WARNING = "It shows where the score of the model comes from, not the extent of a lesion."
NO_PLACE = "No single place carries this score: whichever is hidden, more than half of the odds are left."
HALF_THE_ODDS = math.log(2)
"""Fall of the log odds from which on a place counts: hiding it at least halves the odds of the score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatGrid:
    """A heat map as it is kept with an analysis: where the score of a label on an image comes from, in whole numbers.

    `falls`: row by row over a frame of `rows` and `columns` pixels that begins at `crop` (row, column) of the image, as many cells down as
    across: by how many hundredths the log odds of `score`, in [0, 1], fall on average where the cell is hidden; below 0 where they rise.
    Whole numbers are the same on every machine, and a page that is made again is the same page.

    Raises:
        ValueError: the cells are no square, or the frame has none.
    """

    label: str
    image: ImageRef
    score: float
    rows: int
    columns: int
    crop: tuple[int, int]
    falls: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.falls or self.side**2 != len(self.falls) or min(self.rows, self.columns) < 1:
            raise ValueError("a heat map has as many cells down as across, over a frame with pixels")

    @property
    def side(self) -> int:
        """Cells down, and across."""
        return math.isqrt(len(self.falls))

    @property
    def top_of_scale(self) -> float:
        """The fall of the log odds that takes the last colour: a map without a place stays pale."""
        return max(max(self.falls) / _HUNDREDTHS, HALF_THE_ODDS)

    def left_at(self, share: float) -> float:
        """The score that is left on average where hiding takes this share of `top_of_scale`."""
        inside = min(max(self.score, sys.float_info.min), 1 - sys.float_info.epsilon)
        odds = inside / (1 - inside) * math.exp(-share * self.top_of_scale)
        return odds / (1 + odds)


PROMPT = "prompt:"


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityVerdict:
    """One quality check on one image: what was measured, against which limit, and what that means.

    `check` names a check that measured the pixels, or is `prompt:LABEL` if the model was asked: then `measured` is its score,
    the median of the frames that are judged together, and `image` the frame with the highest. `grade` is DIAGNOSTIC if nothing
    wrong was found. `code` (CID 6135, 6315 or 7011) names the defect that is looked for. `sentence` explains the verdict to a
    technologist and holds no patient data. `regions` say where on the image the fault is, if it has a place and somebody looked for it.
    """

    check: str
    image: ImageRef
    measured: float
    unit: str
    threshold: float
    threshold_source: str
    grade: QualityGrade
    code: Code
    sentence: str
    regions: tuple[Region, ...] = ()

    @property
    def by_model(self) -> bool:
        """True if the model was asked; False if a check measured the pixels."""
        return self.check.startswith(PROMPT)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesQuality:
    """The verdict on one series, by the rule of `inference.quality.grade`, and how many of its images are of which grade."""

    series_instance_uid: str
    grade: QualityGrade
    images: int
    limited: int
    non_diagnostic: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageKind:
    """What the model takes images (one, or those of a series together) for: told beside the results, never a finding.

    `kind` is in words, `probability` its softmax share among all kinds, in [0, 1]. `expected`: the route names kinds, and these
    images passed; otherwise nobody has compared the kind with anything.
    """

    kind: str
    probability: float
    expected: bool
    images: tuple[ImageRef, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Abstention:
    """A refusal to answer, with its reason in words (no patient data). `images` is empty if it concerns the whole study."""

    reason: AbstentionReason
    detail: str
    images: tuple[ImageRef, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Priority:
    """What the level of a raised flag is called in HL7 v2 (OBR-27.6), in DICOM worklists (0074,1200) and in Structured Reports."""

    hl7: str
    ups: str
    sr: Code


@dataclass(frozen=True, slots=True, kw_only=True)
class Exclusion:
    """An instance that the route or the model left out on purpose, and why."""

    image: ImageRef
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """Everything that is to be reported about one study revision under one route.

    `inputs` are the instances whose pixels (or headers, if nothing could be analysed) were used: they become the
    report's evidence. `provenance` is of the model that looked for findings, None if no model was involved. `seen_by` is of the
    model that told kind and quality, where that was another one. `analysed_at` is the time inside the reports. `withdrawn`: the
    reason for which what was reported before is taken back; then there is no answer of any kind, and the outcome is NOT_ATTEMPTED.
    `flags_held_back`: a sentence for each finding that would have raised the study and why it did not. `priority`: what the raised
    flag is called elsewhere; None if no study was raised, or if nobody decided (files analysed by hand). `remarks`: sentences on how
    much was looked at, and how, where that is not all of it. `series_quality`: one verdict a series whose images were checked.
    `heat_maps`: of findings whose place was looked for.

    Raises:
        ValueError: an answer beside a withdrawal, or a withdrawal without a reason.
    """

    study_instance_uid: str
    revision: int
    route: str
    outcome: Outcome
    analysed_at: datetime
    inputs: tuple[ImageRef, ...]
    excluded: tuple[Exclusion, ...] = ()
    findings: tuple[Finding, ...] = ()
    quality: tuple[QualityVerdict, ...] = ()
    kinds: tuple[ImageKind, ...] = ()
    abstentions: tuple[Abstention, ...] = ()
    provenance: Provenance | None = None
    seen_by: Provenance | None = None
    withdrawn: str | None = None
    flags_held_back: tuple[str, ...] = ()
    priority: Priority | None = None
    remarks: tuple[str, ...] = ()
    series_quality: tuple[SeriesQuality, ...] = ()
    heat_maps: tuple[HeatGrid, ...] = ()

    def __post_init__(self) -> None:
        answers = self.findings or self.quality or self.kinds or self.outcome is not Outcome.NOT_ATTEMPTED
        if self.withdrawn is not None and (answers or not self.withdrawn.strip()):
            raise ValueError("a withdrawal has a reason, and no answers")

    @property
    def sight(self) -> Provenance | None:
        """The model that told kind and quality."""
        return self.seen_by or self.provenance

    @property
    def flag(self) -> FlagLevel:
        """The highest flag of all findings."""
        return max((finding.flag for finding in self.findings), default=FlagLevel.NONE)

    @property
    def grade(self) -> QualityGrade | None:
        """The verdict on the study: that of its series if they agree, else limited; None if no check ran.

        A study of which one series can be read is not worthless, and one of which one cannot is not whole. Where the series are not
        known (analyses of earlier releases) it is the worst of all verdicts.
        """
        grades = {series.grade for series in self.series_quality}
        if len(grades) > 1:
            return QualityGrade.LIMITED
        return next(iter(grades), None) if grades else max((verdict.grade for verdict in self.quality), default=None)

    @property
    def in_shadow(self) -> bool:
        """True if a model answered without a calibration for this site: scores are reported, nothing is flagged."""
        return self.provenance is not None and self.provenance.calibration_id is None
