"""A page laid out on sheets: banner and patient on each, the answer first, what it rests on last."""

from collections.abc import Iterator, Sequence
from functools import partial

from inference.findings import FlagLevel, Presence
from reporting.companions import lettering
from reporting.companions.blocks import BODY, FULL_ROOM, GAP, LEADING, MARGIN, SMALL, STRONG, TITLE, Block, section, space, stacked
from reporting.companions.page import BANNER, BANNER_NOTE, Page, Row
from reporting.companions.panels import PICTURE_ROOM, heat_band, picture_column, stands_alone
from reporting.companions.sheet import WIDTH, Box, Ink, Mark, Sheet, Words

_BANNER = 52
_MANY_ROWS = 7  # from here on, rows are one line high
_BAR = 182  # with the number right of it
_NUMBER = 104


def sheets_of(page: Page, heights: Sequence[int]) -> tuple[Sheet, ...]:
    """Return the page on one sheet of the first of `heights` that holds it, else on several of the last."""
    for height in heights:
        flow = _Flow(page, height)
        _fill(flow, page)
        if flow.fits:
            break
    return flow.sheets


def _fill(flow: "_Flow", page: Page) -> None:
    """The answer beside the pictures; heat maps that need the width below both; what it rests on last."""
    for block in _answered(page, flow.room):
        flow.add(block)
    if stands_alone(page):
        flow.clear()
        flow.add(heat_band(page))
        flow.add(space(GAP))
    flow.add(section("Made from", flow.room))
    for name, value in page.facts:
        flow.add(_fact(name, value, flow.room))


class _Flow:
    """Blocks one below the other, on as many sheets of a height as they need; the pictures stand on the first, right of them."""

    def __init__(self, page: Page, height: int) -> None:
        self._head, self._foot, self._beside = _head(page), _foot(page), picture_column(page)
        self._height = height
        self._bottom = height - MARGIN / 2 - self._foot.height
        self._stacks: list[list[Mark]] = []
        self._y = self._bottom
        self._pictures_end = self._head.height + self._beside.height
        self.room = FULL_ROOM - (PICTURE_ROOM + MARGIN if self._beside.height else 0)

    def add(self, block: Block) -> None:
        if not self._stacks or self._y + block.height > self._bottom:
            pictures = () if self._stacks else self._beside.draw(self._head.height)
            self._stacks.append([*self._head.draw(0), *self._foot.draw(self._bottom), *pictures])
            self._y = self._head.height
        self._stacks[-1] += block.draw(self._y)
        self._y += block.height

    def clear(self) -> None:
        """From here on the whole width is free."""
        if len(self._stacks) == 1:
            self._y = max(self._y, self._pictures_end)
        self.room = FULL_ROOM

    @property
    def fits(self) -> bool:
        return len(self._stacks) == 1 and self._pictures_end <= self._bottom

    @property
    def sheets(self) -> tuple[Sheet, ...]:
        count = len(self._stacks)
        numbered = enumerate(self._stacks, start=1)
        return tuple(Sheet(height=self._height, marks=(*stack, *_number(number, count))) for number, stack in numbered)


def _number(number: int, count: int) -> Iterator[Mark]:
    text = f"page {number} of {count}"
    yield Words(x=WIDTH - MARGIN - lettering.width(text, SMALL), y=_BANNER - 19, text=text, size=SMALL, ink=Ink.ON_WARNING)


def _head(page: Page) -> Block:
    """Banner, patient and study: on every sheet, for sheets get separated."""
    room = WIDTH - 2 * MARGIN
    patient = lettering.wrapped(page.patient, STRONG + 3, room, bold=True)
    lines = [*lettering.wrapped(page.person, BODY, room), *lettering.wrapped(page.study, BODY, room)]
    top = _BANNER + 10
    tall = len(patient) * (STRONG + 3) * LEADING + len(lines) * BODY * LEADING

    def draw(_: float) -> list[Mark]:
        after = MARGIN + lettering.width(BANNER, STRONG, bold=True) + 16
        return [
            Box(x=0, y=0, width=WIDTH, height=_BANNER, ink=Ink.WARNING),
            Words(x=MARGIN, y=_BANNER - 18, text=BANNER, size=STRONG, ink=Ink.ON_WARNING, bold=True),
            Words(x=after, y=_BANNER - 19, text=BANNER_NOTE, size=SMALL, ink=Ink.ON_WARNING),
            *stacked(patient, MARGIN, top, STRONG + 3, bold=True),
            *stacked(lines, MARGIN, top + len(patient) * (STRONG + 3) * LEADING, BODY, ink=Ink.DIM),
            Box(x=MARGIN, y=top + tall + 8, width=room, height=1, ink=Ink.RULE),
        ]

    return Block(height=top + tall + 8 + GAP, draw=draw)


def _foot(page: Page) -> Block:
    lines = lettering.wrapped(page.disclaimer, SMALL, WIDTH - 2 * MARGIN)

    def draw(y: float) -> list[Mark]:
        return [
            Box(x=MARGIN, y=y, width=WIDTH - 2 * MARGIN, height=1, ink=Ink.RULE),
            *stacked(lines, MARGIN, y + 8, SMALL, ink=Ink.DIM),
        ]

    return Block(height=8 + len(lines) * SMALL * LEADING, draw=draw)


def _answered(page: Page, room: float) -> Iterator[Block]:
    yield _answer(page, room)
    if page.missing:
        yield section("Not analysed, and limits", room, Ink.WARNING)
        for text in page.missing:
            yield from _paragraph(text, room)
        yield space(GAP)
    if page.rows:
        yield section("Findings looked for", room)
        compact = len(page.rows) > _MANY_ROWS
        yield from (_row(row, room, compact=compact or row.presence is Presence.ABSENT) for row in page.rows)
        yield space(GAP)
    if page.quality:
        yield section("Image quality", room)
        for text in page.quality:
            yield from _paragraph(text, room)
        yield space(GAP)


def _answer(page: Page, room: float) -> Block:
    """The flag, the headline, and the sentence that keeps it from being misread."""
    headline = lettering.wrapped(page.headline, TITLE, room, bold=True)
    words = lettering.wrapped(page.explanation, BODY, room)
    chip = 40 if page.flag else 0
    head_height = len(headline) * TITLE * LEADING

    def draw(y: float) -> list[Mark]:
        flag = _chip(page.flag, MARGIN, y, alarm=page.level is FlagLevel.EMERGENCY) if page.flag else []
        return [
            *flag,
            *stacked(headline, MARGIN, y + chip, TITLE, bold=True),
            *stacked(words, MARGIN, y + chip + head_height + 2, BODY),
        ]

    return Block(height=chip + head_height + 2 + len(words) * BODY * LEADING + GAP, draw=draw)


def _chip(text: str, x: float, y: float, *, alarm: bool) -> list[Mark]:
    width = lettering.width(text, SMALL, bold=True) + 24
    ground, letters = (Ink.ALARM, Ink.ON_ALARM) if alarm else (Ink.WARNING, Ink.ON_WARNING)
    return [
        Box(x=x, y=y, width=width, height=30, ink=ground),
        Words(x=x + 12, y=y + 21, text=text, size=SMALL, ink=letters, bold=True),
    ]


def _paragraph(text: str, room: float) -> Iterator[Block]:
    """One block a line, so that a text of any length goes on on the next sheet."""
    for line in lettering.wrapped(text, BODY, room):
        yield Block(height=BODY * LEADING, draw=partial(stacked, (line,), MARGIN, size=BODY))
    yield space(2)


def _fact(name: str, value: str, room: float) -> Block:
    indent = 160
    lines = lettering.wrapped(value, SMALL, room - indent)

    def draw(y: float) -> list[Mark]:
        return [*stacked((name,), MARGIN, y, SMALL, ink=Ink.DIM), *stacked(lines, MARGIN + indent, y, SMALL)]

    return Block(height=len(lines) * SMALL * LEADING, draw=draw)


def _row(row: Row, room: float, *, compact: bool) -> Block:
    """Name and details on the left, presence in the middle, number and bar on the right."""
    bar_x = MARGIN + room - _BAR
    chip_x = bar_x - 150
    names = lettering.wrapped(row.name, BODY, chip_x - MARGIN - 12, bold=row.presence is not Presence.ABSENT)
    details = () if compact else lettering.wrapped(row.detail, SMALL, chip_x - MARGIN - 12)
    flagged = ("flagged",) if row.flag is not FlagLevel.NONE and not compact else ()
    tall = max(len(names) * BODY * LEADING + len(details) * SMALL * LEADING, 30 if compact else 50) + 8

    def draw(y: float) -> list[Mark]:
        ink = Ink.DIM if row.presence is Presence.ABSENT else Ink.TEXT
        number_width = lettering.width(row.number, BODY, bold=True)
        below = [] if compact else stacked((row.remark,), bar_x, y + BODY * LEADING + 1, SMALL, ink=Ink.DIM)
        return [
            *stacked(names, MARGIN, y, BODY, ink=ink, bold=row.presence is not Presence.ABSENT),
            *stacked(details, MARGIN, y + len(names) * BODY * LEADING, SMALL, ink=Ink.DIM),
            *_presence(row.presence, chip_x, y),
            *stacked(flagged, chip_x + 12, y + 31, SMALL, ink=Ink.DIM),
            *_bar(row, bar_x, y, number_width),
            *below,
        ]

    return Block(height=tall, draw=draw)


def _presence(presence: Presence, x: float, y: float) -> Sequence[Mark]:
    if presence is Presence.PRESENT:
        return _chip("PRESENT", x, y, alarm=True)
    if presence is Presence.UNDETERMINED:
        return stacked((presence.value,), x, y, BODY)
    return stacked((presence.value,), x, y, BODY, ink=Ink.DIM)


def _bar(row: Row, x: float, y: float, number_width: float) -> list[Mark]:
    """The score as a length, the threshold as a line across; the number stands right of it."""
    length = _BAR - _NUMBER
    ink = Ink.ALARM if row.presence is Presence.PRESENT else Ink.BAR
    limit = [] if row.limit is None else [Box(x=x + length * row.limit - 1, y=y + 4, width=3, height=22, ink=Ink.TEXT)]
    return [
        Box(x=x, y=y + 9, width=length, height=12, ink=Ink.PANEL),
        Box(x=x, y=y + 9, width=length * row.fraction, height=12, ink=ink),
        *limit,
        *stacked((row.number,), x + _BAR - number_width, y, BODY, bold=True),
    ]
