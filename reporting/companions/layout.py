"""A page laid out on sheets: banner and patient on each, the answer first, what it rests on last."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from inference.findings import FlagLevel, Presence
from reporting.companions import lettering
from reporting.companions.page import BANNER, BANNER_NOTE, Page, Row, Shown
from reporting.companions.sheet import WIDTH, Box, Ink, Loop, Mark, Photo, Sheet, Words

# All in 1/1024 of the width. 17 is the smallest letter: it is still read when a viewer shows the page at half size.
_MARGIN = 36
_SMALL, _BODY, _STRONG, _TITLE = 17, 19, 21, 34
_LEADING = 1.32
_GAP = 14
_BANNER = 52
_PICTURE_ROOM = 280
_MANY_ROWS = 7  # from here on, rows are one line high
_BAR = 182  # with the number right of it
_NUMBER = 104


@dataclass(frozen=True, slots=True, kw_only=True)
class _Block:
    """Something that stays together: its height, and its marks when its top is at a given y."""

    height: float
    draw: Callable[[float], Sequence[Mark]]


def sheets_of(page: Page, heights: Sequence[int]) -> tuple[Sheet, ...]:
    """Return the page on one sheet of the first of `heights` that holds it, else on several of the last."""
    for height in heights:
        laid = _laid_out(page, height)
        if len(laid) == 1:
            return laid
    return laid


def _laid_out(page: Page, height: int) -> tuple[Sheet, ...]:
    head, foot = _head(page), _foot(page)
    bottom = height - _MARGIN / 2 - foot.height
    stacks: list[list[Mark]] = []
    beside = _pictures(page)
    room = WIDTH - 2 * _MARGIN - (_PICTURE_ROOM + _MARGIN if page.pictures else 0)
    y = bottom
    for block in _blocks(page, room):
        if not stacks or y + block.height > bottom:
            stacks.append([*head.draw(0), *foot.draw(bottom), *([] if stacks else beside.draw(head.height))])
            y = head.height
        stacks[-1] += block.draw(y)
        y += block.height
    count = len(stacks)
    return tuple(Sheet(height=height, marks=(*stack, *_number(number, count))) for number, stack in enumerate(stacks, start=1))


def _number(number: int, count: int) -> Iterator[Mark]:
    text = f"page {number} of {count}"
    yield Words(x=WIDTH - _MARGIN - lettering.width(text, _SMALL), y=_BANNER - 19, text=text, size=_SMALL, ink=Ink.ON_WARNING)


def _head(page: Page) -> _Block:
    """Banner, patient and study: on every sheet, for sheets get separated."""
    room = WIDTH - 2 * _MARGIN
    patient = lettering.wrapped(page.patient, _STRONG + 3, room, bold=True)
    lines = [*lettering.wrapped(page.person, _BODY, room), *lettering.wrapped(page.study, _BODY, room)]
    top = _BANNER + 10
    tall = len(patient) * (_STRONG + 3) * _LEADING + len(lines) * _BODY * _LEADING

    def draw(_: float) -> list[Mark]:
        after = _MARGIN + lettering.width(BANNER, _STRONG, bold=True) + 16
        return [
            Box(x=0, y=0, width=WIDTH, height=_BANNER, ink=Ink.WARNING),
            Words(x=_MARGIN, y=_BANNER - 18, text=BANNER, size=_STRONG, ink=Ink.ON_WARNING, bold=True),
            Words(x=after, y=_BANNER - 19, text=BANNER_NOTE, size=_SMALL, ink=Ink.ON_WARNING),
            *_lines(patient, _MARGIN, top, _STRONG + 3, bold=True),
            *_lines(lines, _MARGIN, top + len(patient) * (_STRONG + 3) * _LEADING, _BODY, ink=Ink.DIM),
            Box(x=_MARGIN, y=top + tall + 8, width=room, height=1, ink=Ink.RULE),
        ]

    return _Block(height=top + tall + 8 + _GAP, draw=draw)


def _foot(page: Page) -> _Block:
    lines = lettering.wrapped(page.disclaimer, _SMALL, WIDTH - 2 * _MARGIN)

    def draw(y: float) -> list[Mark]:
        return [
            Box(x=_MARGIN, y=y, width=WIDTH - 2 * _MARGIN, height=1, ink=Ink.RULE),
            *_lines(lines, _MARGIN, y + 8, _SMALL, ink=Ink.DIM),
        ]

    return _Block(height=8 + len(lines) * _SMALL * _LEADING, draw=draw)


def _blocks(page: Page, room: float) -> Iterator[_Block]:
    yield _answer(page, room)
    if page.missing:
        yield _section("Not analysed, and limits", room, Ink.WARNING)
        for text in page.missing:
            yield from _paragraph(text, room)
        yield _space(_GAP)
    if page.rows:
        yield _section("Findings looked for", room)
        compact = len(page.rows) > _MANY_ROWS
        yield from (_row(row, room, compact=compact or row.presence is Presence.ABSENT) for row in page.rows)
        yield _space(_GAP)
    if page.quality:
        yield _section("Image quality", room)
        for text in page.quality:
            yield from _paragraph(text, room)
        yield _space(_GAP)
    yield _section("Made from", room)
    yield from (_fact(name, value, room) for name, value in page.facts)


def _answer(page: Page, room: float) -> _Block:
    """The flag, the headline, and the sentence that keeps it from being misread."""
    headline = lettering.wrapped(page.headline, _TITLE, room, bold=True)
    words = lettering.wrapped(page.explanation, _BODY, room)
    chip = 40 if page.flag else 0
    head_height = len(headline) * _TITLE * _LEADING

    def draw(y: float) -> list[Mark]:
        flag = _chip(page.flag, _MARGIN, y, alarm=page.level is FlagLevel.EMERGENCY) if page.flag else []
        return [
            *flag,
            *_lines(headline, _MARGIN, y + chip, _TITLE, bold=True),
            *_lines(words, _MARGIN, y + chip + head_height + 2, _BODY),
        ]

    return _Block(height=chip + head_height + 2 + len(words) * _BODY * _LEADING + _GAP, draw=draw)


def _chip(text: str, x: float, y: float, *, alarm: bool) -> list[Mark]:
    width = lettering.width(text, _SMALL, bold=True) + 24
    ground, letters = (Ink.ALARM, Ink.ON_ALARM) if alarm else (Ink.WARNING, Ink.ON_WARNING)
    return [
        Box(x=x, y=y, width=width, height=30, ink=ground),
        Words(x=x + 12, y=y + 21, text=text, size=_SMALL, ink=letters, bold=True),
    ]


def _section(title: str, room: float, ink: Ink = Ink.DIM) -> _Block:
    def draw(y: float) -> list[Mark]:
        return [
            Words(x=_MARGIN, y=y + 18, text=title.upper(), size=_SMALL, ink=ink, bold=True),
            Box(x=_MARGIN, y=y + 26, width=room, height=1, ink=Ink.RULE),
        ]

    return _Block(height=34, draw=draw)


def _paragraph(text: str, room: float) -> Iterator[_Block]:
    """One block a line, so that a text of any length goes on on the next sheet."""
    for line in lettering.wrapped(text, _BODY, room):
        yield _Block(height=_BODY * _LEADING, draw=partial(_lines, (line,), _MARGIN, size=_BODY))
    yield _space(2)


def _space(height: float) -> _Block:
    return _Block(height=height, draw=lambda _: ())


def _fact(name: str, value: str, room: float) -> _Block:
    indent = 160
    lines = lettering.wrapped(value, _SMALL, room - indent)

    def draw(y: float) -> list[Mark]:
        return [*_lines((name,), _MARGIN, y, _SMALL, ink=Ink.DIM), *_lines(lines, _MARGIN + indent, y, _SMALL)]

    return _Block(height=len(lines) * _SMALL * _LEADING, draw=draw)


def _row(row: Row, room: float, *, compact: bool) -> _Block:
    """Name and details on the left, presence in the middle, number and bar on the right."""
    bar_x = _MARGIN + room - _BAR
    chip_x = bar_x - 150
    names = lettering.wrapped(row.name, _BODY, chip_x - _MARGIN - 12, bold=row.presence is not Presence.ABSENT)
    details = () if compact else lettering.wrapped(row.detail, _SMALL, chip_x - _MARGIN - 12)
    flagged = ("flagged",) if row.flag is not FlagLevel.NONE and not compact else ()
    tall = max(len(names) * _BODY * _LEADING + len(details) * _SMALL * _LEADING, 30 if compact else 50) + 8

    def draw(y: float) -> list[Mark]:
        ink = Ink.DIM if row.presence is Presence.ABSENT else Ink.TEXT
        number_width = lettering.width(row.number, _BODY, bold=True)
        below = [] if compact else _lines((row.remark,), bar_x, y + _BODY * _LEADING + 1, _SMALL, ink=Ink.DIM)
        return [
            *_lines(names, _MARGIN, y, _BODY, ink=ink, bold=row.presence is not Presence.ABSENT),
            *_lines(details, _MARGIN, y + len(names) * _BODY * _LEADING, _SMALL, ink=Ink.DIM),
            *_presence(row.presence, chip_x, y),
            *_lines(flagged, chip_x + 12, y + 31, _SMALL, ink=Ink.DIM),
            *_bar(row, bar_x, y, number_width),
            *below,
        ]

    return _Block(height=tall, draw=draw)


def _presence(presence: Presence, x: float, y: float) -> Sequence[Mark]:
    if presence is Presence.PRESENT:
        return _chip("PRESENT", x, y, alarm=True)
    if presence is Presence.UNDETERMINED:
        return _lines((presence.value,), x, y, _BODY)
    return _lines((presence.value,), x, y, _BODY, ink=Ink.DIM)


def _bar(row: Row, x: float, y: float, number_width: float) -> list[Mark]:
    """The score as a length, the threshold as a line across; the number stands right of it."""
    length = _BAR - _NUMBER
    ink = Ink.ALARM if row.presence is Presence.PRESENT else Ink.BAR
    limit = [] if row.limit is None else [Box(x=x + length * row.limit - 1, y=y + 4, width=3, height=22, ink=Ink.TEXT)]
    return [
        Box(x=x, y=y + 9, width=length, height=12, ink=Ink.PANEL),
        Box(x=x, y=y + 9, width=length * row.fraction, height=12, ink=ink),
        *limit,
        *_lines((row.number,), x + _BAR - number_width, y, _BODY, bold=True),
    ]


def _pictures(page: Page) -> _Block:
    tallest = 300 if len(page.pictures) == 1 else 230

    def draw(y: float) -> list[Mark]:
        marks: list[Mark] = []
        for one in page.pictures:
            placed, tall = _picture(one, WIDTH - _MARGIN - _PICTURE_ROOM, y, tallest)
            marks += placed
            y += tall
        return marks

    return _Block(height=0, draw=draw)


def _picture(shown: Shown, x: float, y: float, tallest: float) -> tuple[list[Mark], float]:
    picture = shown.picture
    scale = min(_PICTURE_ROOM / picture.columns, tallest / picture.rows)
    width, height = picture.columns * scale, picture.rows * scale
    left = x + (_PICTURE_ROOM - width) / 2
    caption = lettering.wrapped(shown.caption, _SMALL, _PICTURE_ROOM)
    loops = [
        Loop(points=tuple((left + column * scale, y + row * scale) for column, row in region.points), ink=Ink.OUTLINE)
        for region in shown.regions
    ]
    marks: list[Mark] = [
        Photo(x=left, y=y, width=width, height=height, picture=picture),
        *loops,
        *_lines(caption, x, y + height + 4, _SMALL, ink=Ink.DIM),
    ]
    return marks, height + 4 + len(caption) * _SMALL * _LEADING + _GAP


def _lines(lines: Sequence[str], x: float, y: float, size: float, *, ink: Ink = Ink.TEXT, bold: bool = False) -> list[Mark]:
    """Lines one below the other; `y` is the top of the first."""
    return [Words(x=x, y=y + size * (1 + number * _LEADING), text=text, size=size, ink=ink, bold=bold) for number, text in enumerate(lines)]
