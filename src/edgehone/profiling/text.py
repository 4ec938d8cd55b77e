"""A profile as text: bottlenecks, figures, timeline and the slowest operators."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence

from edgehone.backends.sessions import (
    OperatorTime,
)
from edgehone.core.figure import Figure
from edgehone.profiling.bottlenecks import Bottleneck
from edgehone.profiling.result import Profile
from edgehone.report.summary import table

_BARS = "▁▂▃▄▅▆▇█"
_COLUMNS = 100
_WIDTH = 60  # characters of a sparkline
_OPERATORS = 10  # rows per phase
_FIGURES: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("requests_per_s", "requests/s", lambda v: f"{v:.4g}"),
    ("tokens_per_s", "tokens/s", lambda v: f"{v:.4g}"),
    ("latency_p50_ms", "latency p50 ms", lambda v: f"{v:.4g}"),
    ("latency_p95_ms", "latency p95 ms", lambda v: f"{v:.4g}"),
    ("latency_p99_ms", "latency p99 ms", lambda v: f"{v:.4g}"),
    ("latency_cv", "variation", lambda v: f"{100 * v:.1f} %"),
    ("ttft_p50_ms", "first token p50 ms", lambda v: f"{v:.4g}"),
    ("cpu_use", "processor use", lambda v: f"{100 * v:.0f} % of the usable threads"),
    ("run_delay", "waited for a processor", lambda v: f"{100 * v:.1f} % of its time"),
    ("switches_per_s", "context switches", lambda v: f"{v:.0f}/s"),
    ("involuntary_per_s", "  of them involuntary", lambda v: f"{v:.0f}/s"),
    ("resident_bytes", "resident MB", lambda v: f"{v / 1e6:.0f}"),
    ("anonymous_bytes", "  anonymous", lambda v: f"{v / 1e6:.0f}"),
    ("file_mapped_bytes", "  mapped from files", lambda v: f"{v / 1e6:.0f}"),
    ("bandwidth_share", "memory bandwidth read", lambda v: f"{100 * v:.0f} % of the measured bandwidth"),
    ("mhz", "clock", lambda v: f"{v:.0f} MHz (mean)"),
    ("warmest_c", "warmest", lambda v: f"{v:.0f} °C"),
    ("load_cold_ms", "start, cold", lambda v: f"{v:.0f} ms"),
    ("load_warm_ms", "start, warm", lambda v: f"{v:.0f} ms"),
    ("joules_per_request", "energy per request", lambda v: f"{v:.3g} J"),
)


def profile_text(profile: Profile) -> str:
    """Return the whole profile as plain text of at most 100 columns."""
    parts = [
        _head(profile),
        _limits(profile.bottlenecks),
        _figures(profile),
        _timeline(profile),
        _operators(profile),
    ]
    notes = "\n".join(f"note: {note}" for note in profile.notes)
    return "\n\n".join(part for part in (*parts, notes) if part)


def _head(profile: Profile) -> str:
    count = profile.figures["requests"].value or 0
    line = f"{profile.candidate} on {profile.device.get('cpu') or 'this machine'}: {count:.0f} requests"
    return f"{line}\nThe process failed before the end: {profile.error}" if profile.error else line


def _limits(found: Sequence[Bottleneck]) -> str:
    lines = [
        f"{one.name}: {one.figure} is {one.value:.3g}, above {one.threshold:g}: {one.says}"
        for one in found
        if one.holds
    ]
    if not lines:
        lines.append("No bottleneck was found.")
    lines += [
        f"undetermined: {one.name}, because {one.figure} is missing: {one.reason}"
        for one in found
        if one.holds is None
    ]
    return "\n".join(_wrapped(line) for line in lines)


def _figures(profile: Profile) -> str:
    rows = []
    for name, title, shown in _FIGURES:
        figure = profile.figures.get(name)
        if figure is not None and figure.value is not None:
            rows.append(f"{title:<24}{shown(figure.value)}{_between(figure, shown)}")
    missing: dict[str, list[str]] = {}
    for name, title, _ in _FIGURES:
        figure = profile.figures.get(name)
        if figure is not None and figure.reason:
            missing.setdefault(figure.reason, []).append(title.strip())
    rows += [_wrapped(f"missing: {', '.join(titles)}: {reason}") for reason, titles in missing.items()]
    return "\n".join(rows)


def _wrapped(line: str) -> str:
    return textwrap.fill(line, _COLUMNS, subsequent_indent="  ")


def _between(figure: Figure, shown: Callable[[float], str]) -> str:
    if figure.low is None or figure.high is None:
        return ""
    return f" ({shown(figure.low)} to {shown(figure.high)})"


def _timeline(profile: Profile) -> str:
    moments = profile.timeline
    if len(moments) < 2:
        return ""
    rows = [
        _line(f"processor {core}", [one.cores[core] for one in moments], 1.0, " %", 100)
        for core in range(min(len(one.cores) for one in moments))
    ]
    memory = [(one.anonymous or 0) + (one.file_mapped or 0) for one in moments]
    rows.append(_line("resident", memory, None, " MB", 1e-6))
    if clocks := [one.mhz for one in moments if one.mhz is not None]:
        rows.append(_line("clock", clocks, None, " MHz", 1))
    if profile.slices:
        rows.append(_line("latency", [one["mean"] for one in profile.slices], None, " ms", 1000))
    span = f"from {moments[0].at:.1f} s to {moments[-1].at:.1f} s; requests start at 0 s"
    return "\n".join([*rows, span])


def _line(title: str, values: Sequence[float], top: float | None, unit: str, scale: float) -> str:
    low, high = min(values), max(values)
    return f"{title:<16}{sparkline(values, top)}  {low * scale:.4g} to {high * scale:.4g}{unit}"


def sparkline(values: Sequence[float], top: float | None = None, width: int = _WIDTH) -> str:
    """Draw one character per value, from 0 to `top` (None: the largest value); neighbours are averaged to fit."""
    step = max(1, -(-len(values) // width))
    means = [sum(part) / len(part) for part in (values[i : i + step] for i in range(0, len(values), step))]
    most = top or max(means, default=0.0) or 1.0
    last = len(_BARS) - 1
    return "".join(_BARS[min(last, max(0, round(last * value / most)))] for value in means)


def _operators(profile: Profile) -> str:
    if not profile.operators:
        return f"operators: missing: {profile.operators_reason}" if profile.operators_reason else ""
    blocks = []
    for phase in dict.fromkeys(one.phase for one in profile.operators):
        some = [one for one in profile.operators if one.phase == phase]
        blocks.append("\n".join(table(_rows(phase, some))))
    return "\n\n".join(blocks)


def _rows(phase: str, some: Sequence[OperatorTime]) -> list[tuple[str, ...]]:
    whole = sum(one.seconds for one in some) or 1.0
    rows: list[tuple[str, ...]] = [("", f"operator, {phase}", "calls", "ms", "share")]
    for one in some[:_OPERATORS]:
        share = f"{100 * one.seconds / whole:.1f} %"
        rows.append(("", one.operator, str(one.calls), f"{1000 * one.seconds:.3g}", share))
    if rest := some[_OPERATORS:]:
        left = sum(one.seconds for one in rest)
        calls = str(sum(one.calls for one in rest))
        rows.append(("", f"{len(rest)} others", calls, f"{1000 * left:.3g}", f"{100 * left / whole:.1f} %"))
    return rows
