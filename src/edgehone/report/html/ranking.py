"""The ranking by weights: sliders, table, and the data from which the script ranks.

The scores are computed as in decision/choice.py; rank.js computes the same from the logarithms provided here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgehone.decision import pairs
from edgehone.decision.choice import Choice, contenders
from edgehone.decision.decision import Candidate
from edgehone.decision.objectives import logarithms
from edgehone.inputs.workload import OBJECTIVES
from edgehone.report.figures import label, shape, value_of
from edgehone.report.html.parts import Context, table
from edgehone.report.html.tag import Html, tag

# The columns of the ranking besides the score.
_COLUMNS = ("workload_latency_ms", "kl_mean", "relative_error", "accuracy_kept", "peak_memory_bytes", "bytes")
# Steps of a weight's slider; the weight of the run is added to them.
_STEPS = (0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)


def weights(context: Context) -> dict[str, float]:
    """Return the weights of the run, 0 for an objective without weight."""
    stored = context.findings.decision.requirements.get("weights") or {}
    return {name: float(stored.get(name, 0.0)) for name in OBJECTIVES}


def sliders(context: Context, weights: Mapping[str, float], choice: Choice) -> Html:
    """Return a slider for each comparable objective, set to the weights of the run, and the chosen candidate."""
    rows = []
    known = [logarithms(one) for one in contenders(context.findings.decision.candidates) if one.passes]
    for name in OBJECTIVES:
        if all(logs[name] is None for logs in known):
            continue  # no candidate has it
        steps = sorted({*_STEPS, weights[name]})
        rows.append(
            tag(
                "label",
                tag("span", name.capitalize()),
                tag(
                    "input",
                    type="range",
                    min="0",
                    max=len(steps) - 1,
                    value=steps.index(weights[name]),
                    data_name=name,
                    data_steps=" ".join(map(_exact, steps)),
                    aria_valuetext=_exact(weights[name]),
                ),
                tag("output", _exact(weights[name])),
            )
        )
    return tag(
        "div",
        tag("h3", "Weights"),
        tag(
            "p",
            "A weight is an exchange rate: at speed 1 and quality 8, one per cent of quality is worth eight per cent "
            "of speed.",
            class_="note",
        ),
        tag("div", *rows, class_="sliders js"),
        tag(
            "p",
            tag("strong", choice.key),
            " is chosen by the weights of the run.",
            class_="winner",
            aria_live="polite",
        ),
        tag(
            "p",
            tag("button", "Reset to the weights of the run", type="button", class_="js reset"),
            class_="js",
        ),
        class_="weights",
    )


def _exact(weight: float) -> str:
    """Return all digits, since the script ranks by them, and 1 instead of 1.0."""
    return str(weight).removesuffix(".0")


def table_of(context: Context, choice: Choice | None) -> Html:
    """Return the table of all candidates: those with a score by rank, then the others with the reason."""
    scores = choice.scores if choice else {}
    ranked = sorted(scores, key=lambda key: (-(scores[key].value or 0.0), key))
    order = {key: i for i, key in enumerate(ranked)}
    names = [name for name in _COLUMNS if context.with_figure(name)]
    if "kl_mean" in names and "relative_error" in names:
        names.remove("relative_error")  # one measure of the difference is enough
    units = {name: context.with_figure(name)[0][1].unit for name in names}
    numbers = {one.key: i for i, one in enumerate(context.measured)}
    rows = []
    for one in sorted(context.measured, key=lambda c: order.get(c.key, len(order))):
        score = scores.get(one.key)
        rank = str(order[one.key] + 1) if score else ""
        shown = "–" if score is None or score.value is None else f"{score.value:.3f}".replace("-", "−")
        cells = [tag("td", value_of(n, one.figure(n), bare=True), class_="n") for n in names]
        rows.append(
            tag(
                "tr",
                tag("td", rank, class_="n k"),
                context.head(one),
                tag("td", shown, class_="n c"),
                *cells,
                tag("td", _remark(context, one, bool(score)), class_="f"),
                class_=context.row_class(one),
                data_i=numbers[one.key],
            )
        )
    heads = [
        tag("th", "Rank", scope="col", class_="n"),
        "Candidate",
        tag("th", "Score", scope="col", class_="n"),
    ]
    heads += [tag("th", label(n, units[n]), scope="col", class_="n") for n in names]
    caption = "Ranking: a score of 0 is the best in every objective"
    return tag("div", table(caption, [*heads, ""], rows), class_="ranking")


def rivals(context: Context) -> list[dict[str, Any]]:
    """Return the candidates eligible for selection:

    key, bytes, the logarithm of each objective with its interval, and its advantages over the others in paired rounds.
    """
    eligible = {c.key for c in contenders(context.findings.decision.candidates) if c.passes}
    baseline = context.findings.decision.baseline
    among = [one for one in context.measured if one.key in eligible and one is not baseline]
    return [
        {"i": i, "key": one.key, "bytes": one.bytes, "logs": logs_of(one), "ahead": _ahead(one, among)}
        for i, one in enumerate(context.measured)
        if one in among
    ]


def _ahead(one: Candidate, others: Sequence[Candidate]) -> dict[str, dict[str, tuple[float, float]]]:
    """Return by how much a candidate is ahead of each other one in paired rounds, and half of the interval's width."""
    found = {
        other.key: {
            name: by_pairs
            for name in ("speed", "throughput")
            if (by_pairs := pairs.ahead(one, other, name)) is not None
        }
        for other in others
        if other is not one
    }
    return {key: entry for key, entry in found.items() if entry}


def logs_of(candidate: Candidate) -> dict[str, list[float] | None]:
    """Return the logarithm of each objective with the distances to the ends of its interval, as rank.js reads them."""
    return {n: None if e is None else [e.value, e.down, e.up] for n, e in logarithms(candidate).items()}


def _remark(context: Context, one: Candidate, scored: bool) -> str:
    if one is context.findings.decision.baseline:
        return "not ranked"
    failing = [shape(v.figure).label.lower() for v in one.verdicts if v.failed]
    if failing:
        return f"fails {', '.join(failing)}"
    if undecided := [shape(v.figure).label.lower() for v in one.verdicts if v.undecided]:
        return f"not decided: {', '.join(undecided)}"
    if "raced_out" in one.facts:
        return "eliminated in the race"
    words = [] if scored else ["lacks a figure"]
    return ", ".join([*words, "on the frontier"] if one.on_frontier else words)
