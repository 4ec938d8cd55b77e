"""A recommendation as text: frameworks with reasons, recipes with predicted figures, advice with sources."""

from __future__ import annotations

from edgehone.core.figure import Figure
from edgehone.model.info import ModelInfo
from edgehone.plan.expect import FIGURES, Expected
from edgehone.plan.recommend import Recommendation
from edgehone.plan.target import PredictionTarget
from edgehone.report.summary import table

_HEAD = ("recipe", "MB", "peak MB", "prefill", "decode", "latency ms", "build s")


def shown(
    model: ModelInfo,
    target: PredictionTarget,
    recommendation: Recommendation,
    note: str | None,
    command: str,
) -> str:
    """Return the recommendation as plain text. `command` is the next one to type."""
    speed = target.bandwidth
    reads = f"reads {speed.value:.0f} GB/s" if speed.value else f"bandwidth unknown: {speed.reason}"
    lines = [
        f"{model.architecture}, {model.parameters / 1e6:.1f} M parameters, for {target.name} ({reads})",
        "",
    ]
    lines += [note, ""] if note else []
    lines += ["Frameworks, in the order in which they are tried:"]
    lines += [f"  {at}. {one.backend}: {one.why}" for at, one in enumerate(recommendation.ranked, 1)]
    lines += [f"  not {name}: {reason}" for name, reason in recommendation.refused.items()]
    lines += ["", "Recipes, the most promising of each framework first; all figures are predictions:"]
    rows: list[tuple[str, ...]] = [("", *_HEAD, "")]
    rows += [_row(one) for one in recommendation.expected]
    lines += table(rows)
    figures = [getattr(one, name) for one in recommendation.expected for name in FIGURES]
    lines += [f"  -: {reason}" for reason in sorted({str(f.reason) for f in figures if f.value is None})]
    lines += ["  prefill and decode in tokens/s; latency of one request of the workload", ""]
    took = recommendation.build_seconds
    time = f"{_span(took, 1 / 60)} minutes, " if took.value is not None else ""
    lines += [
        f"Building all of them takes about {time}{recommendation.build_memory / 1e9:.1f} GB of memory and "
        f"{recommendation.build_disk / 1e9:.1f} GB of disk.",
    ]
    lines += [f"The whole run, {recommendation.run.sentence()}."] if recommendation.run else []
    lines += [f"  not {key}: {reason}" for key, reason in recommendation.left_out.items()]
    lines += [f"It does not fit: {obstacle}" for obstacle in recommendation.obstacles]
    if recommendation.advice:
        lines += ["", "Advice:", *(f"  {one.says} ({one.source})" for one in recommendation.advice)]
    return "\n".join([*lines, "", f"Next:  {command}"])


def _row(one: Expected) -> tuple[str, ...]:
    mark = "" if one.obstacle is None else "-"
    scales = {"bytes": 1e-6, "memory": 1e-6}
    spans = (_span(getattr(one, name), scales.get(name, 1.0)) for name in FIGURES)
    return (mark, one.recipe.key, *spans, one.obstacle or "")


def _span(figure: Figure, scale: float) -> str:
    if figure.value is None or figure.low is None or figure.high is None:
        return "-"
    digits = 0 if figure.value * scale >= 10 else 1
    return f"{figure.low * scale:.{digits}f}–{figure.high * scale:.{digits}f}"
