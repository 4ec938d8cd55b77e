"""A comparison as text: the table, each column's best marked, and what ties with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgehone.core.figure import Figure
from edgehone.decision.comparison import Comparison
from edgehone.decision.decision import Candidate
from edgehone.report.summary import Column, columns, is_graph, table, title

# Where less is better; in the other columns more is.
_LESS = {"bytes", "kl_mean", "relative_error", "mse", "workload_latency_ms", "peak_memory_bytes"}
_MARKS = "* best of its column   ≈ tied with it: the difference is within its interval; the original does not compete\n"
_LANGUAGE = """KL in nats per token from the original in float32; prefill and decode in tokens/s; half the width of the
95 % interval behind ±"""
_GRAPH = """error: of the outputs, as a share of their size; samples/s at the best batch; half the width of the
95 % interval behind ±"""


def comparison(found: Comparison) -> str:
    """Plain text, no colour, at most some 120 columns; the fastest first."""
    alive = sorted((c for c in found.candidates if c.status == "ok"), key=_latency)
    shape = columns(found.workload, str(found.baseline.facts.get("metric", "agreement")))
    rows = [
        ("", "recipe", *(f"{head} " for _, head, _ in shape), ""),
        _row("the original", found.baseline, [], shape),
    ]
    rows += [_row(one.recipe["name"], one, alive, shape) for one in alive]
    marks = _MARKS + (_GRAPH if is_graph(found.workload) else _LANGUAGE)
    lines = [title(found.model, found.device, found.workload), "", *table(rows), "", marks]
    lost = [one for one in found.candidates if one.status != "ok"]
    if lost:
        lines += ["", "Not compared:"]
    for one in lost:
        lines += [f"  {one.recipe['name']}: {one.status}: {one.error}"]
        lines += [f"    log: {one.log}"] if one.log else []
    if found.notes:
        lines += ["", "Notes:", *(f"  {note}" for note in found.notes)]
    return "\n".join(lines)


def _row(label: str, one: Candidate, rivals: Sequence[Candidate], shape: Sequence[Column]) -> tuple[str, ...]:
    cells = [_cell(one, name, show, rivals) for name, _, show in shape]
    return (label, str(one.facts.get("what", one.key)), *cells, "")


def _latency(candidate: Candidate) -> tuple[bool, float]:
    value = candidate.figure("workload_latency_ms").value
    return (value is None, value or 0.0)


def _cell(one: Candidate, name: str, show: Callable[[Figure], str], rivals: Sequence[Candidate]) -> str:
    """The figure, and whether it is the best of its column or tied with that."""
    figure = one.figure(name)
    mark = " "
    if best := _best([rival.figure(name) for rival in rivals], name):
        if figure.value == best.value:
            mark = "*"
        elif figure.ties(best):
            mark = "≈"
    return show(figure) + mark


def _best(figures: Sequence[Figure], name: str) -> Figure | None:
    known = [(figure.value, figure) for figure in figures if figure.value is not None]
    if len(figures) < 2 or not known:
        return None
    return (min if name in _LESS else max)(known, key=lambda pair: pair[0])[1]
