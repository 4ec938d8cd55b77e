"""The sections with figures: quality, speed, memory, energy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from edgehone.decision.decision import Candidate
from edgehone.report.axis import Axis, axis
from edgehone.report.figures import interval_of, label, number, value_of
from edgehone.report.html.parts import Context, reasons, section
from edgehone.report.html.strip_plot import intervals, line, plot, row, vertical
from edgehone.report.html.tag import Html, join, tag
from edgehone.report.samples import by_figure, readings

_QUALITY = (
    "accuracy_kept",
    "kl_mean",
    "kl_at_end",
    "same_top",
    "relative_error",
    "perplexity_ratio",
    "task_accuracy_kept",
    "against_kl_mean",
    "against_same_top",
    "against_accuracy_kept",
    "vision_kl_mean",
    "vision_same_top",
    "routing_agreement",
)
# Raw samples → figure.
_SPEED = {
    "latency_ms": "workload_latency_ms",
    "prefill_tokens_per_s": "prefill_tokens_per_s",
    "decode_tokens_per_s": "decode_tokens_per_s",
}
_MEMORY = ("peak_memory_bytes", "peak_anonymous_bytes", "peak_file_mapped_bytes")
_BINS = 48


def quality(context: Context) -> Html:
    """Return the section on how close each candidate is to the original, with intervals."""
    limits = _thresholds(context)
    plots = [intervals(context, name, threshold=limits.get(name)) for name in _QUALITY]
    text = (
        "Compared with the original on the same samples. Lines are 95 % intervals; the dashed line is the threshold of "
        "a gate."
    )
    body = [one for one in plots if one] or [tag("p", "There are no quality figures.")]
    return section(context.prefix, "quality", "Quality", tag("p", text, class_="note"), *body)


def speed(context: Context) -> Html:
    """Return the section on latency, prefill and decode: all timed requests, and the figure with its interval."""
    work = context.findings.decision.workload
    raw = {key: by_figure(readings(samples, work)) for key, samples in context.findings.samples.items()}
    plots = []
    for reading, name in _SPEED.items():
        values = {
            key: [(one.round, one.value) for one in samples_by_figure[reading]]
            for key, samples_by_figure in raw.items()
            if reading in samples_by_figure
        }
        plots.append(_distribution(context, name, values))
    text = (
        "The area is the distribution of all requests, the vertical lines are the medians of the rounds (fresh "
        "processes), the mark is the figure with its 95 % interval over the rounds."
    )
    missing = reasons(context, ["workload_latency_ms"])
    body = [one for one in plots if one] or [tag("p", "There are no speed figures.")]
    return section(context.prefix, "speed", "Speed", tag("p", text, class_="note"), *body, missing)


def memory(context: Context) -> Html:
    """Return the section on peak memory, with the peaks of its anonymous and file-mapped parts."""
    known = context.with_figure("peak_memory_bytes")
    if not known:
        return section(
            context.prefix,
            "memory",
            "Memory",
            reasons(context, ["peak_memory_bytes"]) or tag("p", "Unknown."),
        )
    values = [f.value for one, _ in known for name in _MEMORY if (f := one.figure(name)).value is not None]
    scale = axis("peak_memory_bytes", "bytes", [v for v in values if v is not None], zero=True)
    rows = [
        row(context, one, _split(one, scale), *(value_of(name, one.figure(name)) for name in _MEMORY))
        for one, _ in known
    ]
    text = (
        "Upper bar: anonymous memory (heap, KV cache). Lower bar: memory mapped from files (weights, code). The "
        "vertical line is the peak of the total; the parts peak at different times, so they need not add up to it. "
        "On an accelerator the total includes its memory."
    )
    bars = plot(
        "Peak memory of one process that answers one request",
        scale,
        rows,
        ("Peak", "Anonymous", "File-mapped"),
    )
    return section(
        context.prefix,
        "memory",
        "Memory",
        tag("p", text, class_="note"),
        bars,
        reasons(context, ["peak_memory_bytes"]),
    )


def energy(context: Context) -> Html:
    """Return the section on joules per request, or the reason why they are unknown."""
    body = [intervals(context, "energy_j"), reasons(context, ["energy_j"])]
    return section(context.prefix, "energy", "Energy", *(one for one in body if one))


def _thresholds(context: Context) -> Mapping[str, float]:
    verdicts = (v for one in context.measured for v in one.verdicts)
    return {v.figure: v.threshold for v in verdicts}


def _distribution(
    context: Context, name: str, values: Mapping[str, Sequence[tuple[int, float]]]
) -> Html | None:
    pairs = context.with_figure(name)
    if not pairs:
        return None
    unit = pairs[0][1].unit
    every = [v for one, _ in pairs for _, v in values.get(one.key, ())]
    every += [v for _, f in pairs for v in (f.value, f.low, f.high) if v is not None]
    scale = axis(name, unit, every)
    rows = []
    for one, figure in pairs:
        timed = values.get(one.key, ())
        assert figure.value is not None
        drawn = join(
            _shape([v for _, v in timed], scale),
            _rounds(timed, scale),
            _middle(context, one, name, scale),
        )
        low, high = _ends([v for _, v in timed])
        cells = (
            value_of(name, figure, bare=True),
            interval_of(name, figure),
            low,
            high,
            f"{len(timed):,}" if timed else "–",
        )
        rows.append(row(context, one, drawn, *cells))
    return plot(label(name, unit), scale, rows, ("Value", "95 % interval", "p5", "p95", "Requests"))


def _shape(values: Sequence[float], scale: Axis) -> Html | None:
    """Return the distribution of the samples as a smoothed histogram over the whole axis."""
    if len(values) < 2:
        return None
    counts = [0.0] * (_BINS + 2)
    for value in values:
        counts[1 + min(_BINS - 1, int(scale.at(value) / 100 * _BINS))] += 1
    smooth = [counts[i - 1] / 4 + counts[i] / 2 + counts[i + 1] / 4 for i in range(1, _BINS + 1)]
    most = max(smooth)
    tops = [round(10 - 9 * value / most, 1) for value in smooth]
    used = [i for i, value in enumerate(smooth) if value]
    first, last = max(0, used[0] - 1), min(_BINS - 1, used[-1] + 1)
    points = " ".join(f"{round((i + 0.5) / _BINS * 100, 1):g} {tops[i]:g}" for i in range(first, last + 1))
    ends = [round((i + 0.5) / _BINS * 100, 1) for i in (first, last)]
    path = tag("path", d=f"M{ends[0]:g} 10 {points} {ends[1]:g} 10z")
    return tag("svg", path, viewBox="0 0 100 10", preserveAspectRatio="none", class_="sh")


def _rounds(values: Sequence[tuple[int, float]], scale: Axis) -> list[Html]:
    rounds: dict[int, list[float]] = {}
    for number_, value in values:
        rounds.setdefault(number_, []).append(value)
    return [vertical(scale.at(_quantile(timed, 0.5)), "20%", "80%", "r") for timed in rounds.values()]


def _middle(context: Context, one: Candidate, name: str, scale: Axis) -> Html:
    figure = one.figure(name)
    assert figure.value is not None
    whisker = None
    if figure.low is not None and figure.high is not None:
        whisker = line(scale.at(figure.low), scale.at(figure.high))
    mark = tag("use", href=f"#m{context.series.get(one.backend, 0)}", x=f"{scale.at(figure.value)}%", y="50%")
    return join(whisker, mark)


def _ends(values: Sequence[float]) -> tuple[str, str]:
    if not values:
        return "–", "–"
    low, high = (number("", _quantile(values, q), "", bare=True) for q in (0.05, 0.95))
    return low, high


def _quantile(values: Sequence[float], q: float) -> float:
    """Return the quantile, linear between the two nearest values like numpy's default."""
    ordered = sorted(values)
    at = q * (len(ordered) - 1)
    below = math.floor(at)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (at - below)


def _split(one: Candidate, scale: Axis) -> Html:
    anonymous, mapped, peak = (
        one.figure(n).value for n in ("peak_anonymous_bytes", "peak_file_mapped_bytes", "peak_memory_bytes")
    )
    return join(
        None if anonymous is None else line(0, scale.at(anonymous), "32%", "bar"),
        None if mapped is None else line(0, scale.at(mapped), "68%", "bar b"),
        None if peak is None else vertical(scale.at(peak), "8%", "92%", "peak"),
    )
