"""A Structured Report file as values: its content tree, and of a findings report what a radiologist asks of it first."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from pydicom import dcmread
from pydicom.uid import UID

from reporting import codes
from reporting.attributes import SourceHeader
from reporting.narrative import NOT_ANALYSED

_HEADER_VALUES = {"TEXT": "TextValue", "PNAME": "PersonName", "DATE": "Date", "TIME": "Time", "DATETIME": "DateTime", "UIDREF": "UID"}
_GRAPHICS = frozenset({"SCOORD", "SCOORD3D"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One content item (PS3.3 C.17.3). `code` is the value of its concept name, `concept` the meaning; both may be empty."""

    relationship: str
    value_type: str
    code: str
    concept: str
    value: str
    value_code: str
    unit: str
    items: tuple["Item", ...]

    def all(self, code: str) -> Iterator["Item"]:
        """The direct children whose concept has this code."""
        return (item for item in self.items if item.code == code)

    def first(self, code: str) -> str:
        """Return the value of the first direct child of this code; empty if there is none."""
        return next((item.value for item in self.all(code)), "")

    def walk(self) -> Iterator["Item"]:
        """The item and everything below it, in the order of the document."""
        yield self
        for item in self.items:
            yield from item.walk()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadFinding:
    """One row of the findings table. `score` and `threshold` carry their unit; `fraction` and `limit` are in [0, 1] or None.

    `image` names all images that the finding was made from.
    """

    name: str
    site: str
    score: str
    threshold: str
    fraction: float | None
    limit: float | None
    calibrated: bool
    presence: str
    image: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadQuality:
    """One row of the image quality table: one image, as one algorithm sees it."""

    image: str
    assessment: str
    defects: tuple[str, ...]
    seen_by: str


@dataclass(frozen=True, kw_only=True)
class Report:
    """A report as it was read. What a document does not say is empty."""

    header: SourceHeader
    root: Item

    @property
    def title(self) -> str:
        return self.root.concept or "Structured Report"

    @property
    def status(self) -> tuple[str, ...]:
        """Verification, preliminary and completion flags, as they stand in the header."""
        completion = self.header.text("CompletionFlag")
        description = self.header.text("CompletionFlagDescription")
        complete = f"{completion} ({description})" if completion and description else completion
        flags = (self.header.text("VerificationFlag"), self.header.text("PreliminaryFlag"), complete)
        return tuple(flag for flag in (*flags, self.header.text("ContentQualification")) if flag)

    @property
    def made_at(self) -> str:
        day, time = self.header.date("ContentDate"), self.header.time("ContentTime")
        stamp = f"{day[:4]}-{day[4:6]}-{day[6:]} {time[:2]}:{time[2:4]}" if day and time else ""
        return f"{stamp} {self.header.text('TimezoneOffsetFromUTC')}".strip()

    @property
    def made_by(self) -> str:
        """The algorithms, as the groups name them."""
        groups = [(group.first(codes.ALGORITHM_NAME.value), group.first(codes.ALGORITHM_VERSION.value)) for group in self.groups]
        return ", ".join(f"{name} {version}".strip() for name, version in dict.fromkeys(groups) if name)

    @cached_property
    def groups(self) -> tuple[Item, ...]:
        """The measurement groups."""
        return tuple(item for item in self.root.walk() if item.code == codes.MEASUREMENT_GROUP.value and item.value_type == "CONTAINER")

    @cached_property
    def evaluations(self) -> Item | None:
        """The container of what holds for the whole study."""
        return next((item for item in self.root.items if item.code == codes.QUALITATIVE_EVALUATIONS.value), None)

    @property
    def analyses(self) -> str:
        return next((value for group in self.groups if (value := group.first(codes.SUMMARY_OF_ANALYSES.value))), "")

    @property
    def outcome(self) -> str:
        return self._evaluation(codes.PROCESSING_AND_FINDINGS_SUMMARY.value)

    @property
    def priority(self) -> str:
        return self._evaluation(codes.PRIORITY.value)

    @property
    def quality(self) -> str:
        return self._evaluation(codes.IMAGE_QUALITY.value)

    @property
    def summary(self) -> str:
        return self._evaluation(codes.SUMMARY.value)

    @property
    def abstentions(self) -> tuple[str, ...]:
        return tuple(comment for comment in self._comments if comment.startswith(NOT_ANALYSED))

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(comment for comment in self._comments if not comment.startswith(NOT_ANALYSED))

    @cached_property
    def findings(self) -> tuple[ReadFinding, ...]:
        """The findings, present ones first, then undetermined ones, each by score."""
        order = (codes.PRESENCE_ORDER.index(row.presence) if row.presence in codes.PRESENCE_ORDER else -1 for row in self._rows)
        ranked = sorted(zip(order, self._rows, strict=True), key=lambda pair: (pair[0], -(pair[1].fraction or 0.0)))
        return tuple(row for _, row in ranked)

    @cached_property
    def image_quality(self) -> tuple[ReadQuality, ...]:
        """The image quality groups, in the order of the document."""
        return tuple(
            ReadQuality(
                image=_image_of(group),
                assessment=group.first(codes.QUALITY_ASSESSMENT.value),
                defects=tuple(item.value for item in group.all(codes.QUALITY_FINDING.value)),
                seen_by=group.first(codes.ALGORITHM_NAME.value),
            )
            for group in self.groups
            if group.first(codes.QUALITY_ASSESSMENT.value)
        )

    @property
    def _rows(self) -> tuple[ReadFinding, ...]:
        return tuple(row for group in self.groups if (row := _finding(group)) is not None)

    @property
    def _comments(self) -> tuple[str, ...]:
        return tuple(item.value for item in self.evaluations.all(codes.COMMENT.value)) if self.evaluations else ()

    def _evaluation(self, code: str) -> str:
        return self.evaluations.first(code) if self.evaluations else ""


def read_report(data: bytes) -> Report:
    """Return the report in a Part 10 file. Content that cannot be read is empty, never an error.

    Raises:
        pydicom.errors.InvalidDicomError: `data` is no Part 10 file.
    """
    header = SourceHeader(dataset=dcmread(io.BytesIO(data)))
    return Report(header=header, root=_item(header))


def _item(source: SourceHeader) -> Item:
    name = _first(source, "ConceptNameCodeSequence")
    value_type = source.text("ValueType")
    value, value_code, unit = _value(source, value_type)
    return Item(
        relationship=source.text("RelationshipType"),
        value_type=value_type,
        code=name.text("CodeValue") if name else "",
        concept=name.text("CodeMeaning") if name else "",
        value=value,
        value_code=value_code,
        unit=unit,
        items=tuple(_item(child) for child in source.items("ContentSequence")),
    )


def _value(source: SourceHeader, value_type: str) -> tuple[str, str, str]:
    """Return value, code of the value and unit, in words."""
    if value_type == "CODE":
        code = _first(source, "ConceptCodeSequence")
        return (code.text("CodeMeaning"), code.text("CodeValue"), "") if code else ("", "", "")
    if value_type == "NUM":
        measured = _first(source, "MeasuredValueSequence")
        unit = _first(measured, "MeasurementUnitsCodeSequence") if measured else None
        symbol = unit.text("CodeValue") if unit else ""
        return (measured.text("NumericValue") if measured else "", "", "" if symbol == codes.NO_UNITS.value else symbol)
    if value_type in {"IMAGE", "COMPOSITE", "WAVEFORM"}:
        return _referenced(source), "", ""
    if value_type in _GRAPHICS:
        return source.text("GraphicType"), "", ""
    keyword = _HEADER_VALUES.get(value_type)
    return (source.whole(keyword) if keyword else ""), "", ""


def _referenced(source: SourceHeader) -> str:
    sop = _first(source, "ReferencedSOPSequence")
    if sop is None:
        return ""
    name = UID(sop.text("ReferencedSOPClassUID")).name.replace(" Storage", "")
    frames = ", ".join(sop.texts("ReferencedFrameNumber"))
    return f"{name} {sop.text('ReferencedSOPInstanceUID')}{f' frame {frames}' if frames else ''}"


def _first(source: SourceHeader, keyword: str) -> SourceHeader | None:
    return next(iter(source.items(keyword)), None)


def _finding(group: Item) -> ReadFinding | None:
    numbers = {codes.CERTAINTY_OF_FINDING.value: True, codes.SCORE.value: False}
    number = next((item for item in group.items if item.value_type == "NUM" and item.code in numbers), None)
    if number is None:
        return None
    concept = next(number.all(codes.FINDING.value), None)
    threshold = next(group.all(codes.THRESHOLD_VALUE.value), None)
    name = concept.value if concept else group.first(codes.FINDING.value)
    return ReadFinding(
        name=name,
        site=group.first(codes.FINDING_SITE.value),
        score=f"{number.value} {number.unit}".strip(),
        threshold=f"{threshold.value} {threshold.unit}".strip() if threshold else "",
        fraction=_fraction(number),
        limit=_fraction(threshold) if threshold else None,
        calibrated=numbers[number.code],
        presence=group.first(concept.value_code) if concept else "",
        image=" and ".join(_images_of(group)),
    )


def _fraction(number: Item) -> float | None:
    try:
        value = float(number.value) / (100 if number.unit == codes.PERCENT.value else 1)
    except ValueError:
        return None
    return value if 0 <= value <= 1 else None


def _image_of(group: Item) -> str:
    return next(iter(_images_of(group)), "")


def _images_of(group: Item) -> tuple[str, ...]:
    return tuple(item.value for item in group.items if item.value_type == "IMAGE")
