"""The evidence for drift over time, in SVG."""

from __future__ import annotations

from math import sqrt
from typing import Final

from edgehone.report.html.tag import Html, tag
from examples.demo_all.drift import Drifted

# In units of the drawing: its size, and the space for the numbers at the left and below.
_WIDTH, _HEIGHT, _LEFT, _BELOW = 940, 180, 44, 24
_WORDS: Final = "fill:var(--soft);font-size:12.5px"


def plot(drifted: Drifted) -> Html:
    """Return the evidence of the detector that raised the alarm, by square roots, so that its limit is seen."""
    name = drifted.detector
    points, needed = drifted.evidence[name], drifted.needed[name]
    most, seconds = max(value for _, value in points), 1.1 * max(points[-1][0], drifted.ended)

    def x(at: float) -> float:
        return _LEFT + at / seconds * (_WIDTH - _LEFT)

    def y(value: float) -> float:
        return (_HEIGHT - _BELOW) * (1 - sqrt(max(0.0, value) / max(most, needed)) * 0.95)

    line = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in points)
    moments = ((drifted.began, "in capitals"), (drifted.ended, "approved"))
    drawing = tag(
        "svg",
        tag("title", f"Evidence of the detector {name} over {seconds:.0f} s"),
        _level(y(0), "0", ""),
        _level(y(needed), "alarm", "stroke-dasharray:4 4"),
        tag("text", f"{most:.0f}", x=_LEFT - 6, y=y(most) + 4, text_anchor="end", style=_WORDS),
        *(_moment(x(at), text) for at, text in moments),
        tag("polyline", points=line, style="fill:none;stroke:var(--s0);stroke-width:2"),
        tag("text", f"{name}: evidence (log10)", x=_LEFT + 6, y=14, style=_WORDS),
        tag("text", f"{seconds:.0f} s", x=_WIDTH, y=_HEIGHT - 6, text_anchor="end", style=_WORDS),
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        style=f"width:100%;max-width:{_WIDTH}px;display:block",
    )
    return tag("div", drawing, class_="wide")


def _level(y: float, text: str, dashes: str) -> Html:
    line = tag("line", x1=_LEFT, x2=_WIDTH, y1=y, y2=y, style=f"stroke:var(--soft);stroke-width:1;{dashes}")
    return tag("g", line, tag("text", text, x=_LEFT - 6, y=y + 4, text_anchor="end", style=_WORDS))


def _moment(x: float, text: str) -> Html:
    stroke = "stroke:var(--warn-line);stroke-width:1.5"
    line = tag("line", x1=x, x2=x, y1=0, y2=_HEIGHT - _BELOW, style=stroke)
    return tag("g", line, tag("text", text, x=x + 5, y=32, style=_WORDS))
