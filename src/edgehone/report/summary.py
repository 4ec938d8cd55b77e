"""A decision as text: the choice in a sentence, the table of candidates, what failed and why."""

from __future__ import annotations

from collections.abc import Sequence

from edgehone.decide.decision import Candidate, Decision
from edgehone.figure import Figure

_HEAD = (
    "",
    "candidate",
    "MB",
    "KL",
    "same top",
    "accuracy kept",
    "prefill",
    "decode",
    "latency ms",
    "peak MB",
    "",
)
_MARKS = """* chosen   + on the frontier   KL in nats per token from the original in float32
prefill and decode in tokens/s; half the width of the 95 % interval behind ±"""


def summary(decision: Decision) -> str:
    """Plain text, no colour, at most some 120 columns."""
    lines = [_title(decision), "", decision.reason, ""]
    shown = [decision.baseline, *sorted(decision.candidates, key=_order)]
    measured = [c for c in shown if c.status == "ok"]
    lines += _table([_HEAD, *(_row(c, decision) for c in measured)])
    lines += ["", _MARKS]
    lost = [c for c in shown if c.status != "ok"]
    if lost:
        lines += ["", "Not in the race:"]
        lines += [_fate(c) for c in lost]
    if decision.notes:
        lines += ["", "Notes:", *(f"  {note}" for note in decision.notes)]
    return "\n".join(lines)


def _title(decision: Decision) -> str:
    model, device, work = decision.model, decision.device, decision.workload
    return (
        f"{model['architecture']}, {model['parameters'] / 1e6:.1f} M parameters, on {device['cpu'] or 'this machine'} "
        f"({device['threads']} threads), workload {work['name']}: {work['prompt_tokens']} tokens in, "
        f"{work['generated_tokens']} out"
    )


def _order(candidate: Candidate) -> tuple[bool, float]:
    latency = candidate.figure("workload_latency_ms").value
    return (latency is None, latency or 0.0)


def _row(candidate: Candidate, decision: Decision) -> tuple[str, ...]:
    mark = "*" if candidate.key == decision.chosen else "+" if candidate.on_frontier else ""
    failing = [f"{v.gate} fails" for v in candidate.verdicts if not v.ok]
    return (
        mark,
        candidate.key,
        _plain(candidate.figure("bytes"), 1e-6, 1),
        _significant(candidate.figure("kl_mean")),
        _plain(candidate.figure("same_top"), 100, 1, " %"),
        _plain(candidate.figure("accuracy_kept"), 100, 1, " %"),
        _plain(candidate.figure("prefill_tokens_per_s"), 1, 0),
        _spread(candidate.figure("decode_tokens_per_s"), 0),
        _spread(candidate.figure("workload_latency_ms"), 1),
        _plain(candidate.figure("peak_memory_bytes"), 1e-6, 0),
        ", ".join(failing),
    )


def _fate(candidate: Candidate) -> str:
    text = f"  {candidate.key}: {candidate.status}: {candidate.error}"
    return f"{text}\n    log: {candidate.log}" if candidate.log else text


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


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns aligned: the second and the last to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    left = {0, 1, len(widths) - 1}
    return [
        "  ".join(
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
