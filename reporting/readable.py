"""A Structured Report file as a person reads it: the answer first, the whole tree behind it. As HTML or as plain text.

The patient is not named: whoever shows the report knows whose study it is.
"""

from collections.abc import Iterable, Sequence
from html import escape

from reporting.reading import Item, ReadFinding, ReadQuality, Report, read_report

_SHOWN_ROWS = 12  # the rest of a long table is folded

_STYLE = """<style>
.sr-report{font:14px/1.45 system-ui,sans-serif;color:#1b1f24;background:#fff;max-width:60rem}
.sr-report{border:1px solid #c9d1d9;border-radius:8px;overflow:hidden}
.sr-report h3{font-size:12px;letter-spacing:.04em;text-transform:uppercase;color:#57606a;margin:18px 0 6px}
.sr-head{background:#1f2d3d;color:#fff;padding:12px 16px}.sr-head b{font-size:16px}
.sr-head small{color:#c3cfdb;display:block;margin-top:2px}
.sr-flag{display:inline-block;border-radius:4px;padding:1px 8px;margin:6px 6px 0 0;font-size:12px;background:#3d4f63}
.sr-flag.sr-unverified{background:#f2c200;color:#1b1f24;font-weight:700}
.sr-body{padding:4px 16px 16px}.sr-summary{font-size:15px;margin:12px 0}
.sr-facts{display:grid;grid-template-columns:max-content 1fr;gap:2px 14px;margin:0}.sr-facts dt{color:#57606a}.sr-facts dd{margin:0}
.sr-raised{font-weight:700;color:#a40e26}
.sr-table{border-collapse:collapse;width:100%;font-size:14px}
.sr-table th{text-align:left;font-weight:600;color:#57606a;border-bottom:1px solid #c9d1d9}
.sr-table th,.sr-table td{padding:4px 10px 4px 0;vertical-align:top}.sr-table td{border-bottom:1px solid #eaeef2}
.sr-table .sr-number{white-space:nowrap;font-variant-numeric:tabular-nums}
.sr-uid{font:11px/1.4 ui-monospace,monospace;color:#57606a;word-break:break-all}
.sr-chip{border-radius:10px;padding:1px 9px;font-size:12px;font-weight:600;white-space:nowrap;background:#eaeef2;color:#424a53}
.sr-present{background:#ffd7d5;color:#82071e}.sr-undetermined{background:#fff1c2;color:#6b4e00}
.sr-bar{position:relative;display:block;width:120px;height:6px;margin-top:4px;background:#eaeef2;border-radius:3px}
.sr-bar i{position:absolute;height:6px;border-radius:3px;background:#57606a}
.sr-bar b{position:absolute;top:-3px;width:2px;height:12px;background:#a40e26}
.sr-warning{border-left:4px solid #f2c200;background:#fff8dc;padding:6px 10px;margin:6px 0}
.sr-notes{margin:0;padding-left:18px;color:#424a53;font-size:13px}
.sr-tree{font-size:12px}.sr-tree ul{list-style:none;margin:0;padding-left:16px;border-left:1px solid #eaeef2}
.sr-tree i{color:#57606a;font-style:normal}.sr-report summary{cursor:pointer;color:#0550ae;margin-top:12px}
</style>"""


def readable_html(data: bytes) -> str:
    """Return the report in a Part 10 file as an HTML fragment. Everything from the file is escaped.

    Raises:
        pydicom.errors.InvalidDicomError: `data` is no Part 10 file.
    """
    report = read_report(data)
    abstentions = "".join(f'<p class="sr-warning">{escape(line)}</p>' for line in report.abstentions)
    notes = "".join(f"<li>{escape(line)}</li>" for line in report.notes)
    return "".join(
        (
            _STYLE,
            '<article class="sr-report">',
            _head(report),
            '<div class="sr-body">',
            f'<p class="sr-summary">{escape(report.summary)}</p>' if report.summary else "",
            abstentions,
            _facts(report),
            _table("Findings", ("Finding", "Evaluation", "Score", "Threshold", "Image"), [_finding_row(row) for row in report.findings]),
            _table("Image quality", ("Assessment", "Defects", "Seen by", "Image"), [_quality_row(row) for row in report.image_quality]),
            f'<h3>Notes</h3><ul class="sr-notes">{notes}</ul>' if notes else "",
            f'<details><summary>The whole document</summary><div class="sr-tree"><ul>{_branch(report.root)}</ul></div></details>',
            "</div></article>",
        )
    )


def readable_text(data: bytes) -> str:
    """Return the report in a Part 10 file as plain text.

    Raises:
        pydicom.errors.InvalidDicomError: `data` is no Part 10 file.
    """
    report = read_report(data)
    blocks = [
        [report.title, " | ".join(report.status), report.made_at],
        [report.summary, *report.abstentions],
        [f"{name}: {value}" for name, value in _answers(report)],
        [_finding_line(row) for row in report.findings],
        [_quality_line(row) for row in report.image_quality],
        [f"- {note}" for note in report.notes],
    ]
    if not report.groups:
        blocks.append(list(_lines(report.root, 0)))
    return "\n\n".join("\n".join(line for line in block if line) for block in blocks if any(block)) + "\n"


def _answers(report: Report) -> Iterable[tuple[str, str]]:
    """What the study-level evaluations and the status group say; nothing for a report that has neither."""
    if report.evaluations is None:
        return
    yield "Outcome", report.outcome or "not stated"
    yield "Analysis", report.analyses or "not stated"
    yield "Priority", report.priority or "not raised"
    yield "Image quality", report.quality or "not checked"
    yield "Made by", report.made_by or "not stated"


def _head(report: Report) -> str:
    flags = "".join(
        f'<span class="sr-flag{" sr-unverified" if flag == "UNVERIFIED" else ""}">{escape(flag)}</span>' for flag in report.status
    )
    series = " · ".join(filter(None, (report.header.text("SeriesDescription"), report.made_at)))
    return f'<header class="sr-head"><b>{escape(report.title)}</b><small>{escape(series)}</small>{flags}</header>'


def _facts(report: Report) -> str:
    rows = "".join(f"<dt>{escape(name)}</dt><dd{_raised(name, report)}>{escape(value)}</dd>" for name, value in _answers(report))
    return f'<dl class="sr-facts">{rows}</dl>' if rows else ""


def _raised(name: str, report: Report) -> str:
    return ' class="sr-raised"' if name == "Priority" and report.priority else ""


def _table(title: str, columns: Sequence[str], rows: Sequence[str]) -> str:
    """Return a table of finished rows, folded behind the first ones if it is long; nothing without rows."""
    if not rows:
        return ""
    head = "<tr>" + "".join(f"<th>{escape(column)}</th>" for column in columns) + "</tr>"
    shown = f'<h3>{escape(title)}</h3><table class="sr-table">{head}{"".join(rows[:_SHOWN_ROWS])}</table>'
    if len(rows) <= _SHOWN_ROWS:
        return shown
    folded = f'<table class="sr-table">{head}{"".join(rows[_SHOWN_ROWS:])}</table>'
    return f"{shown}<details><summary>{len(rows) - _SHOWN_ROWS} more</summary>{folded}</details>"


def _finding_row(row: ReadFinding) -> str:
    site = f"<br><small>{escape(row.site)}</small>" if row.site else ""
    kind = row.presence.lower() if row.presence.lower() in {"present", "undetermined"} else "other"
    chip = f'<span class="sr-chip sr-{kind}">{escape(row.presence or "not stated")}</span>'
    score = escape(row.score) + ("" if row.calibrated else "<br><small>not a probability</small>") + _bar(row)
    threshold = escape(row.threshold) if row.threshold else "<small>none: not calibrated</small>"
    cells = (
        f"<td>{escape(row.name)}{site}</td><td>{chip}</td>",
        f'<td class="sr-number">{score}</td><td class="sr-number">{threshold}</td>',
        f'<td class="sr-uid">{escape(row.image)}</td>',
    )
    return f"<tr>{''.join(cells)}</tr>"


def _bar(row: ReadFinding) -> str:
    if row.fraction is None:
        return ""
    mark = "" if row.limit is None else f'<b style="left:{row.limit:.1%}"></b>'
    return f'<span class="sr-bar"><i style="width:{row.fraction:.1%}"></i>{mark}</span>'


def _quality_row(row: ReadQuality) -> str:
    defects = escape(", ".join(row.defects)) or "none found"
    words = f"<td>{escape(row.assessment)}</td><td>{defects}</td><td>{escape(row.seen_by) or 'not stated'}</td>"
    return f'<tr>{words}<td class="sr-uid">{escape(row.image)}</td></tr>'


def _branch(item: Item) -> str:
    children = f"<ul>{''.join(_branch(child) for child in item.items)}</ul>" if item.items else ""
    return f"<li><i>{escape(item.relationship.lower())}</i> <b>{escape(item.concept)}</b> {escape(_shown(item))}{children}</li>"


def _lines(item: Item, depth: int) -> Iterable[str]:
    yield f"{'  ' * depth}{item.concept or item.value_type}: {_shown(item)}".rstrip(": ")
    for child in item.items:
        yield from _lines(child, depth + 1)


def _shown(item: Item) -> str:
    return f"{item.value} {item.unit}".strip()


def _finding_line(row: ReadFinding) -> str:
    threshold = f"threshold {row.threshold}" if row.threshold else "no threshold: not calibrated"
    return f"{row.presence or 'not stated':<13} {row.name}: {row.score} ({threshold}) on {row.image}"


def _quality_line(row: ReadQuality) -> str:
    return f"{row.assessment}: {', '.join(row.defects) or 'no defect found'} on {row.image}, seen by {row.seen_by or 'not stated'}"
