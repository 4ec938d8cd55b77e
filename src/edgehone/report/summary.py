"""A decision as text: the choice in a sentence, a table of candidates, failures and notes."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edgehone.core.figure import Figure
from edgehone.decision.decision import Candidate, Conversion, Decision
from edgehone.report.figures import token_ids

_CONVERSION_HEAD = ("", "conversion", "token ids", "max error", "mean error", "KL", "same top", "")
_WIDTH = 100  # columns of running text
_MARKS = """* chosen   + on the Pareto frontier   KL in nats per token against the original in float32
prefill and decode in tokens/s; ± is half the width of the 95 % interval"""
_GRAPH_MARKS = """* chosen   + on the Pareto frontier   error: of the outputs, relative to their size
samples/s at the best batch size; ± is half the width of the 95 % interval"""


def _plain(figure: Figure, scale: float, digits: int, unit: str = "") -> str:
    return "-" if figure.value is None else f"{figure.value * scale:.{digits}f}{unit}"


def _significant(figure: Figure) -> str:
    return "-" if figure.value is None else f"{figure.value:.2g}"


def _spread(figure: Figure, digits: int) -> str:
    if figure.value is None:
        return "-"
    if figure.low is None or figure.high is None:
        return f"{figure.value:.{digits}f}"
    return f"{figure.value:.{digits}f} ±{(figure.high - figure.low) / 2:.{digits}f}"


# Figure, heading of the column, format.
Column = tuple[str, str, Callable[[Figure], str]]
_LANGUAGE: tuple[Column, ...] = (
    ("bytes", "MB", lambda f: _plain(f, 1e-6, 1)),
    ("kl_mean", "KL", _significant),
    ("same_top", "same top", lambda f: _plain(f, 100, 1, " %")),
    ("accuracy_kept", "accuracy kept", lambda f: _plain(f, 100, 1, " %")),
    ("prefill_tokens_per_s", "prefill", lambda f: _plain(f, 1, 0)),
    ("decode_tokens_per_s", "decode", lambda f: _spread(f, 0)),
    ("workload_latency_ms", "latency ms", lambda f: _spread(f, 1)),
    ("peak_memory_bytes", "peak MB", lambda f: _plain(f, 1e-6, 0)),
)

# Added with several prompts in progress at once, and for a graph with a stream of frames.
_LOADED: tuple[Column, ...] = (("tokens_per_s_total", "all tokens/s", lambda f: _spread(f, 0)),)
_STREAMED: tuple[Column, ...] = (("dropped_frames", "dropped", lambda f: _plain(f, 100, 1, " %")),)

# Added for vision-language models.
_VISION: tuple[Column, ...] = (
    ("vision_kl_mean", "KL of pictures", _significant),
    ("image_ttft_ms", "first token ms", lambda f: _plain(f, 1, 1)),
)


# Added for a quantized file whose float original was given.
_AGAINST: tuple[Column, ...] = (("against_kl_mean", "KL of float", _significant),)


def columns(work: Mapping[str, Any], metric: str, *, against: bool = False) -> tuple[Column, ...]:
    """Return the columns of the table of candidates.

    For a language model they show its tokens (with `metric` "pictures", also its agreement on pictures; with `against`
    its loss against the float original), for a graph its outputs and the `metric`.
    """
    if not is_graph(work):
        vision = _VISION if metric == "pictures" else ()
        return (*_LANGUAGE, *(_AGAINST if against else ()), *(_LOADED if _is_loaded(work) else ()), *vision)
    # Without labels the metric is the agreement, which is shown as "kept".
    labelled: tuple[Column, ...] = () if metric == "agreement" else ((metric, metric, _metric),)
    return (
        ("bytes", "MB", lambda f: _plain(f, 1e-6, 3)),
        ("relative_error", "error", _significant),
        ("same_top", "same top", lambda f: _plain(f, 100, 1, " %")),
        *labelled,
        ("accuracy_kept", "kept", lambda f: _plain(f, 100, 1, " %")),
        ("workload_latency_ms", "latency ms", lambda f: _spread(f, 3)),
        *(_STREAMED if work.get("frames_per_s") else ()),
        ("throughput_per_s", "best samples/s", lambda f: _plain(f, 1, 0)),
        ("peak_memory_bytes", "peak MB", lambda f: _plain(f, 1e-6, 0)),
    )


def _metric(figure: Figure) -> str:
    return _plain(figure, 100, 1, " %") if figure.unit == "share" else _plain(figure, 1, 4)


def is_graph(work: Mapping[str, Any]) -> bool:
    """Return True if the workload is for a graph, which returns outputs instead of tokens."""
    return work.get("task") == "graph"


def summary(decision: Decision) -> str:
    """Return the decision as plain text of about 120 columns."""
    lines = [title(decision.model, decision.device, decision.workload), "", decision.reason, ""]
    shown = [decision.baseline, *sorted(decision.candidates, key=_order)]
    measured = [c for c in shown if c.status == "ok"]
    graph = is_graph(decision.workload)
    vision = "vision_kl_mean" in decision.baseline.figures
    metric = "pictures" if vision else str(decision.baseline.facts.get("metric", "agreement"))
    shape = columns(decision.workload, metric, against="against_kl_mean" in decision.baseline.figures)
    head = ("", "candidate", *(name for _, name, _ in shape), "")
    lines += table([head, *(_row(c, decision, shape) for c in measured)])
    marks = _GRAPH_MARKS if graph else _MARKS
    if (
        decision.model.get("format") == "gguf"
    ):  # the reference is the file itself; there is no float32 version
        marks = marks.replace(" in float32", "")
    if decision.device.get("target"):
        marks = marks.replace("± is half the width of the 95 % interval", "± is the error of the prediction")
    if decision.chosen is None and decision.fallback is not None:
        marks = marks.replace("* chosen", "* the best that keeps the quality, not approved")
    lines += ["", marks]
    lines += _conversions(decision.conversions, graph)
    lost = [c for c in shown if c.status != "ok"]
    if lost:
        lines += ["", "Failed, disqualified or skipped:"]
        lines += _causes(lost, {one.backend for one in decision.conversions if not one.passed})
    if decision.notes:
        lines += ["", "Notes:", *(f"  {note}" for note in decision.notes)]
    return "\n".join(lines)


def title(model: Mapping[str, Any], device: Mapping[str, Any], work: Mapping[str, Any]) -> str:
    """Return a line with the model, the device and the workload."""
    where = f"on {device['cpu'] or 'this machine'} ({device['threads']} threads)"
    if target := device.get("target"):
        where = f"for {target['name']} (speed and memory predicted, not measured), checked {where}"
    return (
        f"{model['architecture']}, {model['parameters'] / 1e6:.1f} M parameters, {where}, "
        f"workload {work['name']}: " + ", ".join(_lengths(work))
    )


def _lengths(work: Mapping[str, Any]) -> list[str]:
    """Return the properties of a workload, in a few words each."""
    graph = is_graph(work)
    words = [] if graph else [f"{work['prompt_tokens']} tokens in, {work['generated_tokens']} out"]
    words += [f"batch {work['batch']}"] if graph or work.get("batch", 1) > 1 else []
    words += [f"{work['concurrency']} clients"] if work.get("concurrency", 1) > 1 else []
    return words + ([f"{work['frames_per_s']:g} frames/s"] if work.get("frames_per_s") else [])


def _is_loaded(work: Mapping[str, Any]) -> bool:
    return int(work.get("batch", 1)) * int(work.get("concurrency", 1)) > 1


def _order(candidate: Candidate) -> tuple[bool, float]:
    latency = candidate.figure("workload_latency_ms").value
    return (latency is None, latency or 0.0)


def _row(candidate: Candidate, decision: Decision, shape: Sequence[Column]) -> tuple[str, ...]:
    mark = "*" if candidate.key == decision.bundled else "+" if candidate.on_frontier else ""
    failing = [f"{v.gate} {v.word}" for v in candidate.verdicts if not v.ok]
    return (
        mark,
        candidate.key,
        *(show(candidate.figure(name)) for name, _, show in shape),
        ", ".join(failing) or ("eliminated in the race" if "raced_out" in candidate.facts else ""),
    )


def _conversions(conversions: Sequence[Conversion], graph: bool) -> list[str]:
    """Return the parity check of every backend, with the reasons of those that are disqualified."""
    if not conversions:
        return []
    rows = [_CONVERSION_HEAD]
    for one in conversions:
        ids = token_ids(one) or "-"
        errors = (_significant(one.max_error), _significant(one.mean_error), _significant(one.kl_mean))
        top = _plain(one.same_top, 100, 1, " %")
        rows.append(("", one.key, ids, *errors, top, "passed" if one.passed else "failed"))
    counts = {(one.compared, one.vocabulary) for one in conversions if one.compared}
    over = " and ".join(
        f"all {most:,} ids" if ids == most else f"the {ids:,} most likely of {most:,} ids"
        for ids, most in sorted(counts)
    )
    about = f"errors: differences of {'outputs' if graph else 'log-probabilities in nats'}" + (
        f", over {over} at each token" if over else ""
    )
    failed = [f"{one.backend} is disqualified: {one.reason}" for one in conversions if not one.passed]
    failed += [f"{one.key}: {note}" for one in conversions for note in one.notes]
    reference = "the original" if graph else "the original in float32"
    title = f"Parity check: unquantized builds compared with {reference}:"
    return ["", title, *table(rows), "", *(line for text in [about, *failed] for line in _wrapped(text))]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _causes(lost: Sequence[Candidate], unproven: set[str]) -> list[str]:
    """Return each cause once with all candidates that it ended; that of a failed parity check is shown above."""
    causes: dict[tuple[str, str | None, str | None], list[str]] = {}
    for one in lost:
        above = one.status == "disqualified" and one.runs_on in unproven
        error = f"{one.runs_on} failed the parity check (above)" if above else one.error
        causes.setdefault((one.status, error, one.log), []).append(one.key)
    lines = []
    for (status, error, log), keys in causes.items():
        lines.append(f"  {', '.join(keys)}: {status}: {error}")
        lines += [f"    log: {log}"] if log else []
    return lines


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the rows with aligned columns: the first two and the last to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    left = {0, 1, len(widths) - 1}
    return [
        "  ".join(
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
