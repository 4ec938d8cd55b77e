"""A comparison as text: a table in which the best of each column, and the values tied with it, are marked."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgehone.core.figure import Figure
from edgehone.decision.comparison import Comparison
from edgehone.decision.decision import Candidate
from edgehone.report.summary import Column, columns, is_graph, table, title

# The columns in which less is better; in the others more is better.
_LESS = {"bytes", "kl_mean", "relative_error", "mse", "workload_latency_ms", "peak_memory_bytes"}
_MARKS = "* best of its column   ≈ tied with it: the difference is within its interval; the original is not compared\n"
_LANGUAGE = """KL in nats per token against the original in float32; prefill and decode in tokens/s; ± is half the width
of the 95 % interval"""
_GRAPH = """error: of the outputs, relative to their size; samples/s at the best batch size; ± is half the width of the
95 % interval"""


def comparison(compared: Comparison) -> str:
    """Return the comparison as plain text of about 120 columns, the fastest first."""
    alive = sorted((c for c in compared.candidates if c.status == "ok"), key=_latency)
    shape = columns(compared.workload, str(compared.baseline.facts.get("metric", "agreement")))
    rows = [
        ("", "recipe", *(f"{head} " for _, head, _ in shape), ""),
        _row("the original", compared.baseline, [], shape),
    ]
    rows += [_row(one.recipe["name"], one, alive, shape) for one in alive]
    marks = _MARKS + (_GRAPH if is_graph(compared.workload) else _LANGUAGE)
    lines = [title(compared.model, compared.device, compared.workload), "", *table(rows), "", marks]
    lost = [one for one in compared.candidates if one.status != "ok"]
    if lost:
        lines += ["", "Not compared:"]
    for one in lost:
        lines += [f"  {one.recipe['name']}: {one.status}: {one.error}"]
        lines += [f"    log: {one.log}"] if one.log else []
    if compared.notes:
        lines += ["", "Notes:", *(f"  {note}" for note in compared.notes)]
    return "\n".join(lines)


def _row(label: str, one: Candidate, rivals: Sequence[Candidate], shape: Sequence[Column]) -> tuple[str, ...]:
    cells = [_cell(one, name, show, rivals) for name, _, show in shape]
    return (label, str(one.facts.get("what", one.key)), *cells, "")


def _latency(candidate: Candidate) -> tuple[bool, float]:
    value = candidate.figure("workload_latency_ms").value
    return (value is None, value or 0.0)


def _cell(one: Candidate, name: str, show: Callable[[Figure], str], rivals: Sequence[Candidate]) -> str:
    """Return the figure, marked if it is the best of its column or tied with the best."""
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
