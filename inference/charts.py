"""Line charts as SVG: the same series give the same text. Presentation attributes only, so that a chart stands in a page or alone."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal, TypeAlias

Point: TypeAlias = tuple[float, float]
Range: TypeAlias = tuple[float, float]

# Okabe and Ito, "Color Universal Design" (2008), without yellow, which paper swallows: told apart with any colour vision.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
_DASHES = {"solid": "", "dashed": "7 4", "reference": "2 4"}
_INK, _SOFT, _GRID = "#16202b", "#566575", "#e4e9ee"
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
_LEFT, _RIGHT, _TOP, _AXIS, _LEGEND_ROW, _SWATCH = 62, 24, 40, 50, 20, 30
_LETTER_WIDTH = 6.6  # of the 12-pixel font, on average
_MARKED_POINTS = 12  # a series of no more points has each of them marked
_STEPS = (1, 2, 2.5, 5, 10)
_TICKS = 5
_ROUNDING = 1e-9  # of binary fractions, in steps


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One line: `points` as (x, y) in drawing order; a NaN or infinite y breaks the line. `band`: (x, low, high), shaded behind it."""

    name: str
    points: tuple[Point, ...]
    line: Literal["solid", "dashed", "reference"] = "solid"
    band: tuple[tuple[float, float, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Axis:
    """What lies between the ends of an axis, and how far apart its numbers stand."""

    low: float
    high: float
    step: float

    def share(self, value: float) -> float:
        """How far along the axis a value lies: 0 at its low end, 1 at its high end."""
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> Iterator[tuple[float, str]]:
        decimals = next((places for places in range(12) if math.isclose(round(self.step, places), self.step)), 12)
        for number in range(math.ceil(self.low / self.step - _ROUNDING), math.floor(self.high / self.step + _ROUNDING) + 1):
            yield number * self.step, f"{number * self.step:.{decimals}f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plot:
    """Where values lie on the picture; the origin of a picture is its upper left corner. `bottom`: of the plotted area."""

    x_axis: _Axis
    y_axis: _Axis
    width: int
    bottom: int

    def x(self, value: float) -> float:
        return _LEFT + self.x_axis.share(value) * (self.width - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        return self.bottom - self.y_axis.share(value) * (self.bottom - _TOP)


def line_chart(
    series: Sequence[Series],
    *,
    title: str,
    x_label: str,
    y_label: str,
    x_range: Range | None = None,
    y_range: Range | None = None,
    width: int = 640,
    height: int = 360,
) -> str:
    """Return an `<svg>` element `width` pixels wide; the legend is added below `height` pixels of title, plot and axis.

    `x_range`, `y_range`: ends of an axis; what lies outside is cut off. None: all that is drawn, widened to round numbers.

    Raises:
        ValueError: there is no finite point, or a range is empty.
    """
    points = [point for one in series for point in (*one.points, *_band_outline(one)) if _finite(point)]
    if not points:
        raise ValueError(f"nothing to draw in {title!r}: no finite point")
    plot = _Plot(
        x_axis=_round_axis([x for x, _ in points]) if x_range is None else _axis(*x_range),
        y_axis=_round_axis([y for _, y in points]) if y_range is None else _axis(*y_range),
        width=width,
        bottom=height - _AXIS,
    )
    legend, legend_height = _legend(series, width=width, top=height)
    full = height + legend_height
    area = f'x="{_LEFT}" y="{_TOP}" width="{width - _LEFT - _RIGHT}" height="{plot.bottom - _TOP}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {full}" width="{width}" height="{full}" role="img"'
        f' aria-label="{escape(title)}" font-family="{_FONT}" font-size="12" fill="{_INK}">',
        f'<rect width="{width}" height="{full}" fill="#ffffff"/>',
        f'<text x="{_LEFT}" y="22" font-size="15" font-weight="600">{escape(title)}</text>',
        *_axes(plot, x_label, y_label),
        # A nested picture clips what it holds, and needs no name that could occur twice in a page.
        f'<svg {area} viewBox="{_LEFT} {_TOP} {width - _LEFT - _RIGHT} {plot.bottom - _TOP}">',
        *(part for index, one in enumerate(series) for part in _band(one, index, plot)),
        *(part for index, one in enumerate(series) for part in _line(one, index, plot)),
        "</svg>",
        *legend,
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _finite(point: Point) -> bool:
    return math.isfinite(point[0]) and math.isfinite(point[1])


def _axis(low: float, high: float) -> _Axis:
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"the range from {low} to {high} is empty")
    raw = (high - low) / _TICKS
    power: float = 10.0 ** math.floor(math.log10(raw))
    return _Axis(low=low, high=high, step=next(factor * power for factor in _STEPS if factor * power >= raw * (1 - _ROUNDING)))


def _round_axis(values: Sequence[float]) -> _Axis:
    """The axis that shows all values, from a multiple of its step to another; around a single value a half of it on either side."""
    low, high = min(values), max(values)
    margin = 0.0 if low < high else (abs(low) or 1) / 2
    step = _axis(low - margin, high + margin).step
    return _Axis(
        low=math.floor((low - margin) / step + _ROUNDING) * step, high=math.ceil((high + margin) / step - _ROUNDING) * step, step=step
    )


def _axes(plot: _Plot, x_label: str, y_label: str) -> Iterator[str]:
    bottom, right = plot.bottom, plot.width - _RIGHT
    for value, text in plot.y_axis.ticks():
        y = plot.y(value)
        yield f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" stroke="{_GRID}"/>'
        yield f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" fill="{_SOFT}">{text}</text>'
    for value, text in plot.x_axis.ticks():
        x = plot.x(value)
        yield f'<line x1="{x:.1f}" y1="{bottom}" x2="{x:.1f}" y2="{bottom + 4}" stroke="{_SOFT}"/>'
        yield f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle" fill="{_SOFT}">{text}</text>'
    yield f'<line x1="{_LEFT}" y1="{bottom}" x2="{right}" y2="{bottom}" stroke="{_SOFT}"/>'
    yield f'<text x="{(_LEFT + right) / 2:.1f}" y="{bottom + 38}" text-anchor="middle">{escape(x_label)}</text>'
    middle = (_TOP + bottom) / 2
    yield f'<text x="16" y="{middle:.1f}" text-anchor="middle" transform="rotate(-90 16 {middle:.1f})">{escape(y_label)}</text>'


def _colour(one: Series, index: int) -> str:
    return _SOFT if one.line == "reference" else COLOURS[index % len(COLOURS)]


def _stroke(one: Series, index: int) -> str:
    dashes = f' stroke-dasharray="{_DASHES[one.line]}"' if _DASHES[one.line] else ""
    return f'stroke="{_colour(one, index)}" stroke-width="{1 if one.line == "reference" else 2}"{dashes}'


def _line(one: Series, index: int, plot: _Plot) -> Iterator[str]:
    for run in _runs(one.points):
        drawn = list(_thinned((plot.x(x), plot.y(y)) for x, y in run))
        yield f'<polyline points="{_written(drawn)}" fill="none" stroke-linejoin="round" {_stroke(one, index)}/>'
    if len(one.points) <= _MARKED_POINTS and one.line != "reference":
        for x, y in filter(_finite, one.points):
            yield f'<circle cx="{plot.x(x):.1f}" cy="{plot.y(y):.1f}" r="3" fill="{_colour(one, index)}"/>'


def _band_outline(one: Series) -> tuple[Point, ...]:
    return (*((x, high) for x, _, high in one.band), *((x, low) for x, low, _ in reversed(one.band)))


def _band(one: Series, index: int, plot: _Plot) -> Iterator[str]:
    outline = [(plot.x(x), plot.y(y)) for x, y in filter(_finite, _band_outline(one))]
    if outline:
        yield f'<polygon points="{_written(outline)}" fill="{_colour(one, index)}" fill-opacity="0.13"/>'


def _runs(points: Sequence[Point]) -> Iterator[list[Point]]:
    run: list[Point] = []
    for point in points:
        if _finite(point):
            run.append(point)
        elif run:
            yield run
            run = []
    if run:
        yield run


def _thinned(drawn: Iterable[Point]) -> Iterator[Point]:
    """Of the points that follow each other in one column of pixels the first, lowest, highest and last: a long series looks the same."""
    column: list[Point] = []
    for point in drawn:
        if column and round(point[0]) != round(column[0][0]):
            yield from _outer(column)
            column = []
        column.append(point)
    yield from _outer(column)


def _outer(column: Sequence[Point]) -> Iterator[Point]:
    heights = [y for _, y in column]
    kept = {0, heights.index(min(heights)), heights.index(max(heights)), len(column) - 1}
    return (column[index] for index in sorted(kept))


def _written(drawn: Iterable[Point]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in drawn)


def _legend(series: Sequence[Series], *, width: int, top: int) -> tuple[list[str], int]:
    """The lines with their names, in as many rows as they need, and the height of those. A single line needs none: the title names it."""
    if len(series) < 2:  # noqa: PLR2004 - nothing to tell apart
        return [], 0
    parts, x, row = [], float(_LEFT), 0
    for index, one in enumerate(series):
        if not one.name:
            continue
        needed = _SWATCH + len(one.name) * _LETTER_WIDTH + 18
        if x > _LEFT and x + needed > width - _RIGHT:
            x, row = float(_LEFT), row + 1
        y = top + 10 + row * _LEGEND_ROW
        parts.append(f'<line x1="{x:.1f}" y1="{y}" x2="{x + _SWATCH - 8:.1f}" y2="{y}" {_stroke(one, index)}/>')
        parts.append(f'<text x="{x + _SWATCH:.1f}" y="{y + 4}">{escape(one.name)}</text>')
        x += needed
    return parts, (row + 1) * _LEGEND_ROW + 6
