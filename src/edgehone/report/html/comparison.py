"""Comparison of several bundles: the chosen candidate and the original of each, on common axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgehone.decision.decision import Candidate
from edgehone.report.findings import Findings
from edgehone.report.html.parts import SERIES, Context, section
from edgehone.report.html.strip_plot import intervals
from edgehone.report.html.tag import Html, tag

_FIGURES = (
    "workload_latency_ms",
    "prefill_tokens_per_s",
    "decode_tokens_per_s",
    "throughput_per_s",
    "kl_mean",
    "relative_error",
    "accuracy_kept",
    "peak_memory_bytes",
    "bytes",
)
# What must be the same for figures to be comparable: name, and its value in a decision.
_SAME = (
    ("device", lambda d: d.device.get("fingerprint") or d.device.get("cpu")),
    ("model", lambda d: d.model.get("digest")),
    (
        "workload",
        lambda d: tuple(d.workload.get(n) for n in ("name", "prompt_tokens", "generated_tokens", "batch")),
    ),
)


def comparison(bundles: Sequence[Findings]) -> Html:
    """Return the section that compares the chosen candidate and the original of each bundle.

    It begins with a note on whether they are comparable.
    """
    rows = [one for findings in bundles for one in _of(findings)]
    absent = Candidate("", "", {}, "skipped")
    decision = replace(bundles[0].decision, chosen=None, baseline=absent, candidates=tuple(rows))
    names = list(dict.fromkeys(one.backend for one in rows))
    context = Context(Findings("", decision), "all-", {name: i % SERIES for i, name in enumerate(names)})
    plots = [plot for name in _FIGURES if (plot := intervals(context, name))]
    links = [
        tag(
            "li",
            tag("a", findings.name, href=f"#b{i}-top"),
            f": {findings.decision.reason or 'no decision can be read'}",
        )
        for i, findings in enumerate(bundles)
    ]
    return section(
        "all-", "comparison", "Comparison", tag("ul", *links, class_="told"), _differing(bundles), *plots
    )


def _of(findings: Findings) -> list[Candidate]:
    """Return the original and the chosen candidate, with the bundle's name in their keys."""
    decision = findings.decision
    chosen = [one for one in decision.candidates if one.key == decision.bundled]
    words = [(decision.baseline, "the original"), *((one, one.key) for one in chosen)]
    return [replace(one, key=f"{findings.name}: {word}", backend=findings.name) for one, word in words]


def _differing(bundles: Sequence[Findings]) -> Html:
    """Return a note that names which of device, model and workload differ."""
    differing = [name for name, of in _SAME if len({of(findings.decision) for findings in bundles}) > 1]
    if not differing:
        text = "All bundles have the same device, model and workload; each was measured in a run of its own."
        return tag("p", text, class_="note")
    text = f"The bundles differ in {', '.join(differing)}, which may cause differences below. "
    return tag(
        "p",
        text,
        tag("code", "edgehone compare"),
        " measures bundles again, in the same rounds.",
        class_="banner",
    )
