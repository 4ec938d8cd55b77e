"""Strip plots: tables with a row per candidate, which has its mark on a common axis and its numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgehone.core.figure import Figure
from edgehone.decision.decision import Candidate
from edgehone.report.axis import Axis, axis
from edgehone.report.figures import interval_of, label, value_of
from edgehone.report.html.parts import Context, table
from edgehone.report.html.tag import Html, join, tag

Draw = Callable[[Candidate, Axis], Html | None]


def intervals(context: Context, name: str, *, threshold: float | None = None) -> Html | None:
    """Return a plot of each candidate's value and 95 % interval on one axis, or None if none has the figure.

    `threshold`, that of a gate, is drawn as a line.
    """
    pairs = context.with_figure(name)
    if not pairs:
        return None
    values = [v for _, f in pairs for v in (f.value, f.low, f.high, threshold) if v is not None]
    scale = axis(name, pairs[0][1].unit, values)
    rows = [
        row(
            context,
            one,
            _whisker(context, one, figure, scale, threshold),
            value_of(name, figure, bare=True),
            interval_of(name, figure),
        )
        for one, figure in pairs
    ]
    return plot(label(name, pairs[0][1].unit), scale, rows, ("Value", "95 % interval"))


def plot(caption: str, scale: Axis, rows: Sequence[Html], columns: Sequence[str]) -> Html:
    """Return the table of rows from `row` below an axis."""
    heads = [tag("th", "Candidate", scope="col"), tag("th", ticks(scale), scope="col", class_="ax")]
    heads += [tag("th", name, scope="col", class_="n") for name in columns]
    return tag("div", table(caption, heads, rows, kind="strip"), style=f"--grid:{_grid(scale)}")


def row(context: Context, one: Candidate, drawn: Html | None, *cells: str) -> Html:
    """Return a candidate's row: its drawing, then its numbers."""
    svg = tag("svg", drawn, class_=f"g s{context.series.get(one.backend, 0)}", aria_hidden="true")
    numbers = [tag("td", cell, class_="n") for cell in cells]
    return tag("tr", context.head(one), tag("td", svg, class_="pl"), *numbers, class_=context.row_class(one))


def ticks(scale: Axis) -> Html:
    """Return the labels of the axis's ticks; those at the ends are aligned to stay within it."""
    labels = []
    for position, text in scale.ticks:
        side = "a" if position < 10 else "z" if position > 90 else None
        labels.append(tag("span", text, class_=side, style=f"left:{position}%"))
    low = tag("span", "≤", class_="a", style="left:0") if scale.cut and scale.ticks[0][0] > 12 else None
    return tag("span", low, *labels, class_="ticks", aria_hidden="true")


def line(x1: float, x2: float, y: str = "50%", kind: str | None = None) -> Html:
    """Return a horizontal line; positions are in per cent."""
    return tag("line", x1=f"{x1}%", x2=f"{x2}%", y1=y, y2=y, class_=kind)


def vertical(x: float, top: str, bottom: str, kind: str) -> Html:
    """Return a vertical line."""
    return tag("line", x1=f"{x}%", x2=f"{x}%", y1=top, y2=bottom, class_=kind)


def _whisker(context: Context, one: Candidate, figure: Figure, scale: Axis, threshold: float | None) -> Html:
    limit = None if threshold is None else vertical(scale.at(threshold), "0", "100%", "limit")
    assert figure.value is not None
    whisker = None
    if figure.low is not None and figure.high is not None:
        whisker = line(scale.at(figure.low), scale.at(figure.high))
    dot = tag("use", href=f"#m{context.series.get(one.backend, 0)}", x=f"{scale.at(figure.value)}%", y="50%")
    return join(limit, whisker, dot)


def _grid(scale: Axis) -> str:
    """Return the ticks as a CSS background of thin lines."""
    hairs = [
        f"linear-gradient(var(--hair),var(--hair)) {position}% 0/1px 100% no-repeat content-box"
        for position, _ in scale.ticks
    ]
    return ",".join(hairs) or "none"
