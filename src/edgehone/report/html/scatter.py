"""The frontier: a scatter plot of all candidates on two axes, and their ranking by weights.

Python draws both, so that they are complete without JavaScript. The script only moves what is drawn: the positions on
every axis are in the data, so scales and number formats are computed here alone. rank.js ranks like
decision/choice.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from edgehone.decision.choice import choose, contenders, indifference
from edgehone.decision.decision import Candidate
from edgehone.decision.pareto import frontier
from edgehone.decision.reasons import SAME_SIZE
from edgehone.report.axis import Axis, axis
from edgehone.report.figures import label, shape, value_of
from edgehone.report.html import ranking
from edgehone.report.html.parts import Context, section
from edgehone.report.html.strip_plot import line, vertical
from edgehone.report.html.tag import Html, data, tag

# The figures that an axis can show.
_AXES = (
    "workload_latency_ms",
    "kl_mean",
    "accuracy_kept",
    "bytes",
    "peak_memory_bytes",
    "prefill_tokens_per_s",
    "decode_tokens_per_s",
    "ttft_ms",
    "same_top",
    "next_token_accuracy",
    "task_accuracy_kept",
    "relative_error",
    "throughput_per_s",
    "image_ttft_ms",
    "against_kl_mean",
    "vision_kl_mean",
    "energy_j",
)
_ACROSS = ("workload_latency_ms", "bytes")
_UP = ("kl_mean", "relative_error", "accuracy_kept")


def section_of(context: Context) -> Html:
    """Return the section; without a plot if no two candidates have two figures in common."""
    scales = _scales(context)
    parts: list[Html] = []
    across = next((n for n in (*_ACROSS, *scales) if n in scales), None)
    up = next((n for n in (*_UP, *scales) if n in scales and n != across), None)
    if across and up:
        parts.append(_figure(context, scales, across, up))
    else:
        parts.append(tag("p", "There is nothing to plot: no two candidates have two figures in common."))
    weights = ranking.weights(context)
    decision = context.findings.decision
    choice = choose(contenders(decision.candidates), weights, decision.baseline)
    ranked = ranking.table_of(context, choice)
    if choice:
        side = ranking.sliders(context, weights, choice)
        parts = [tag("div", *parts, side, class_="two")]
    payload = tag("script", data(_payload(context, scales, weights)), type="application/json", class_="data")
    return section(context.prefix, "frontier", "Frontier and ranking", *parts, ranked, payload)


def _scales(context: Context) -> dict[str, Axis]:
    scales = {}
    for name in _AXES:
        pairs = context.with_figure(name)
        if len(pairs) > 1:
            scales[name] = axis(name, pairs[0][1].unit, [f.value for _, f in pairs if f.value is not None])
    return scales


def _figure(context: Context, scales: Mapping[str, Axis], across: str, up: str) -> Html:
    units = {name: context.with_figure(name)[0][1].unit for name in scales}
    choosers = [_chooser(which, scales, units, selected) for which, selected in (("x", across), ("y", up))]
    x, y = scales[across], scales[up]
    placed = {i: at for i, one in enumerate(context.measured) if (at := _position(one, across, up, scales))}
    points = [_point(context, i, one, placed.get(i)) for i, one in enumerate(context.measured)]
    front = _front(context.measured, placed, across, up)
    hairs = [
        *(vertical(p, "0", "100%", "h") for p, _ in x.ticks),
        *(line(0, 100, f"{100 - p}%", "h") for p, _ in y.ticks),
    ]
    svg = tag(
        "svg",
        tag("g", *hairs, class_="hairs"),
        tag("g", *front, class_="front"),
        tag("g", *points, class_="points"),
        tag("g", *_names(context, placed), class_="names"),
        class_="dots",
        role="img",
        aria_label=f"Candidates by {shape(across).label} and {shape(up).label}; the table below has the same figures",
    )
    area = tag(
        "div",
        tag("p", _axis_label(up, units[up]), class_="yl"),
        tag(
            "div",
            *(tag("span", t, style=f"bottom:{p}%") for p, t in y.ticks),
            class_="yt",
            aria_hidden="true",
        ),
        svg,
        tag(
            "div", *(tag("span", t, style=f"left:{p}%") for p, t in x.ticks), class_="xt", aria_hidden="true"
        ),
        tag("p", _axis_label(across, units[across]), class_="xl"),
        class_="area",
    )
    hint = tag(
        "p", "● on the frontier of speed, quality, memory and size   ○ not on the frontier", class_="hint"
    )
    return tag(
        "div",
        tag("div", *choosers, class_="choosers"),
        area,
        _legend(context),
        tag("p", class_="readout", aria_live="polite"),
        hint,
        class_="scatter",
    )


def _axis_label(name: str, unit: str) -> str:
    return f"{label(name, unit)}, {'less' if shape(name).less else 'more'} is better"


def _chooser(which: str, scales: Mapping[str, Axis], units: Mapping[str, str], selected: str) -> Html:
    options = [tag("option", label(n, units[n]), value=n, selected=n == selected) for n in scales]
    word = "Horizontal" if which == "x" else "Vertical"
    return tag("label", word, " ", tag("select", *options, class_=which), class_="js")


def _position(one: Candidate, across: str, up: str, scales: Mapping[str, Axis]) -> tuple[float, float] | None:
    x, y = one.figure(across).value, one.figure(up).value
    return None if x is None or y is None else (scales[across].at(x), round(100 - scales[up].at(y), 2))


def _point(context: Context, index: int, one: Candidate, position: tuple[float, float] | None) -> Html:
    number = context.series.get(one.backend, 0)
    kinds = [
        f"s{number}",
        "on" if one.on_frontier else None,
        context.row_class(one),
        None if position else "off",
    ]
    at = position or (0, 0)
    mark = tag("use", href=f"#m{number}", x=f"{at[0]}%", y=f"{at[1]}%")
    return tag(
        "g", mark, class_=" ".join(k for k in kinds if k), id=f"{context.prefix}p{index}", data_i=index
    )


def _front(
    measured: Sequence[Candidate], placed: Mapping[int, tuple[float, float]], across: str, up: str
) -> list[Html]:
    """Return the steps between the candidates on the frontier of the two figures that are shown."""
    keys = list(placed)
    points = [[measured[i].figure(across).value, measured[i].figure(up).value] for i in keys]
    on = frontier(points, [not shape(across).less, not shape(up).less])
    best = sorted({placed[i] for i, yes in zip(keys, on, strict=True) if yes})
    return [
        part
        for (x1, y1), (x2, y2) in pairwise(best)
        for part in (
            [line(x1, x2, f"{y1}%"), vertical(x2, f"{y1}%", f"{y2}%", "u")]
            if shape(across).less
            else [vertical(x1, f"{y1}%", f"{y2}%", "u"), line(x1, x2, f"{y2}%")]
        )
    ]


def _names(context: Context, placed: Mapping[int, tuple[float, float]]) -> list[Html]:
    """Return the labels of the chosen candidate and the original, above and below their marks so as not to overlap."""
    labels = []
    for index, one in enumerate(context.measured):
        kind = context.row_class(one)
        if kind and index in placed:
            x, y = placed[index]
            side = "end" if x > 66 else "start" if x < 34 else "middle"
            word = "the original" if kind == "base" else one.key
            below = (kind == "base") != (y > 85) if y > 12 else True
            labels.append(
                tag(
                    "text",
                    word,
                    x=f"{x}%",
                    y=f"{y}%",
                    dy="20" if below else "-12",
                    text_anchor=side,
                    class_=kind,
                )
            )
    return labels


def _legend(context: Context) -> Html:
    items = {one.backend: tag("li", context.mark(one), one.backend) for one in context.measured}
    return tag("ul", *items.values(), class_="legend")


def _payload(context: Context, scales: Mapping[str, Axis], weights: Mapping[str, float]) -> dict[str, Any]:
    """Return the script's data: positions on the axes, and the logarithms that scores are computed from."""
    measured = context.measured
    units = {name: context.with_figure(name)[0][1].unit for name in scales}
    axes = {}
    for name, scale in scales.items():
        figures = [one.figure(name) for one in measured]
        axes[name] = {
            "label": _axis_label(name, units[name]),
            "word": shape(name).label,
            "less": shape(name).less,
            "ticks": scale.ticks,
            "at": [None if f.value is None else scale.at(f.value) for f in figures],
            "value": [f.value for f in figures],
            "text": [value_of(name, f) for f in figures],
        }
    return {
        "prefix": context.prefix,
        "keys": [one.key for one in measured],
        "axes": axes,
        "rivals": ranking.rivals(context),
        "original": ranking.logs_of(context.findings.decision.baseline),
        "weights": dict(weights),
        "rules": {
            "sameSize": SAME_SIZE,
            "indifference": indifference(),
            "qualityIndifference": indifference("quality"),
        },
        "bundle": context.findings.name,
    }
