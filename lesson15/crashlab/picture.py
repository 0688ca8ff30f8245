"""The picture of a disk that loses: what was promised, written, flushed, and what was left."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import NamedTuple

from lesson15.crashlab.recorder import counted, shown
from lesson15.crashlab.result import Loser, Result

_MOST_LINES = 40
_STYLE = """
.crashlab{font-family:system-ui,sans-serif;color:inherit;max-width:60em}
.crashlab table{border-collapse:collapse;margin:.5em 0}
.crashlab td{padding:.15em .7em;text-align:left;vertical-align:top;font-family:monospace}
.crashlab .lost{background:#c0392b22;border-left:4px solid #c0392b}
.crashlab .kept{border-left:4px solid #2e7d32}
.crashlab .luck{border-left:4px dotted #b7791f}
.crashlab .said{border-left:4px solid #1565c0;font-weight:bold}
.crashlab .cut{border-top:3px dashed #c0392b;font-weight:bold}
.crashlab .never{opacity:.55;border-left:4px solid transparent}
"""


class Row(NamedTuple):
    """A line of the picture: its kind, a sign for it, the text, and what became of it."""

    kind: str
    sign: str
    text: str
    fate: str


def rows(result: Result, loser: Loser) -> Iterator[Row]:
    """The trace up to the power cut and a little beyond it."""
    fates = dict(loser.fates)
    lines = result.trace[: loser.lines]
    first = max(0, len(lines) - _MOST_LINES)
    if first:
        yield Row("never", " ", f"({first} lines before)", "")
    for line in lines[first:]:
        if not line.number:
            yield Row("said", "*", line.text, "")
        elif line.number in fates:
            yield Row("lost", "x", line.text, fates[line.number].upper())
        elif line.number in loser.unflushed:
            yield Row("luck", "~", line.text, "not flushed, but survived")
        else:
            yield Row("kept", "+", line.text, "")
    yield Row("cut", "!", "THE POWER GOES", loser.in_recovery)
    for line in result.trace[loser.lines : loser.lines + 2]:
        yield Row("never", " ", line.text, "not done any more")


def left(loser: Loser) -> Iterator[tuple[str, str]]:
    """Each file that is left, with what is in it."""
    for path, data in sorted(loser.content.items()):
        size = "folder" if path.endswith("/") else counted(len(data))
        yield path, size if path.endswith("/") or not data else f"{size}: {shown(data, 60)}"


def as_text(result: Result) -> str:
    """The verdict, and the picture of the smallest loser."""
    parts = [result.summary]
    parts += [f"  {what}" for what in result.unseen]
    if result.error:
        parts += ["", result.error]
    loser = result.smallest
    if loser is not None and not result.unseen:
        table = list(rows(result, loser))
        width = min(72, max(len(row.text) for row in table))
        parts += ["", "The smallest disk that loses:", ""]
        parts += [f"  {row.sign} {row.text:{width}}  {row.fate}".rstrip() for row in table]
        parts += [
            "",
            f"promised: {', '.join(loser.promised[-3:]) or 'nothing yet'}",
            "left on the disk:",
        ]
        parts += [f"  {path}  {what}" for path, what in left(loser)] or ["  nothing"]
        parts += ["", f"wrong: {loser.wrong}"]
        parts += ["", "+ sure to survive   ~ survived by luck   x lost, or not whole   * said"]
    return "\n".join(parts)


def as_html(result: Result) -> str:
    """The same for a notebook."""
    parts = [f"<style>{_STYLE}</style><p><b>{escape(result.summary)}</b></p>"]
    parts += [f"<p>{escape(what)}</p>" for what in result.unseen]
    if result.error:
        parts.append(f"<pre>{escape(result.error)}</pre>")
    loser = result.smallest
    if loser is not None and not result.unseen:
        parts.append("<p>The smallest disk that loses:</p><table>")
        for row in rows(result, loser):
            cells = (row.sign, row.text, row.fate)
            line = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
            parts.append(f'<tr class="{row.kind}">{line}</tr>')
        promised = ", ".join(loser.promised[-3:]) or "nothing yet"
        parts.append(f"</table><p>Promised: <code>{escape(promised)}</code></p>")
        parts.append("<p>Left on the disk:</p><table>")
        for path, what in left(loser):
            parts.append(f"<tr><td>{escape(path)}</td><td>{escape(what)}</td></tr>")
        parts.append(f"</table><p><b>Wrong:</b></p><pre>{escape(loser.wrong)}</pre>")
    return f'<div class="crashlab">{"".join(parts)}</div>'
