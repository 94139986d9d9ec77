"""A bar chart as SVG, drawn by hand: no plotting library for one picture."""

from collections.abc import Mapping, Sequence
from html import escape

_BAR, _GAP, _LEFT, _WIDTH, _TOP = 16, 6, 190, 520, 56
_COLOURS = ("#1f5fa8", "#5f9bd6", "#a9cbee")


def bars(title: str, rows: Mapping[str, Mapping[int, float]], *, unit: str) -> str:
    """Return an SVG with one group of bars for each row, one bar for each number of associations."""
    series: Sequence[int] = sorted({key for row in rows.values() for key in row})
    longest = max(value for row in rows.values() for value in row.values())
    height = _TOP + len(rows) * (len(series) * _BAR + 2 * _GAP) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + _WIDTH + 90}" height="{height}" font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="10" y="20" font-size="14" font-weight="bold">{escape(title)}, {escape(unit)}</text>',
    ]
    for place, associations in enumerate(series):
        x = 10 + 130 * place
        parts.append(f'<rect x="{x}" y="32" width="10" height="10" fill="{_COLOURS[place % 3]}"/>')
        parts.append(f'<text x="{x + 15}" y="41">{associations} association{"s" if associations > 1 else ""}</text>')
    y = _TOP
    for name, row in rows.items():
        middle = y + len(series) * _BAR / 2 + 4
        parts.append(f'<text x="{_LEFT - 8}" y="{middle:.0f}" text-anchor="end">{escape(name)}</text>')
        for place, associations in enumerate(series):
            value = row.get(associations, 0.0)
            width = _WIDTH * value / longest
            parts.append(f'<rect x="{_LEFT}" y="{y}" width="{width:.1f}" height="{_BAR - 2}" fill="{_COLOURS[place % 3]}"/>')
            parts.append(f'<text x="{_LEFT + width + 4:.1f}" y="{y + 11}">{value:.0f}</text>')
            y += _BAR
        y += 2 * _GAP
    return "\n".join([*parts, "</svg>", ""])
