"""Labels, directions, scales and number formats of figures."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from edgehone.core.figure import Figure
from edgehone.decision.decision import Conversion

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_UNIT = re.compile(r"(.*?)( ?[A-Za-z%×]+)")
BYTES = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "bytes"))


@dataclass(frozen=True)
class Shape:
    """How a figure is shown.

    `less`: less is better. `log`: its ratios matter more than its differences. `percent`: it is a share. `digits` is
    the number of significant digits.
    """

    label: str
    less: bool = False
    log: bool = False
    percent: bool = False
    digits: int = 3


SHAPES = {
    "workload_latency_ms": Shape("Latency", less=True, log=True),
    "observed_latency_ms": Shape("Latency as observed", less=True, log=True),
    "ttft_ms": Shape("Time to first token", less=True, log=True),
    "prefill_tokens_per_s": Shape("Prefill", log=True),
    "decode_tokens_per_s": Shape("Decode", log=True),
    "tokens_per_s_total": Shape("Tokens of all clients", log=True),
    "requests_per_s": Shape("Requests of all clients", log=True),
    "dropped_frames": Shape("Dropped frames", less=True, percent=True),
    "throughput_per_s": Shape("Best throughput", log=True),
    "image_ttft_ms": Shape("First token after a picture", less=True, log=True),
    "load_cold_ms": Shape("Cold start", less=True, log=True),
    "load_warm_ms": Shape("Warm start", less=True, log=True),
    "bytes": Shape("Size", less=True, log=True),
    "peak_memory_bytes": Shape("Peak memory", less=True, log=True),
    "accelerator_memory_bytes": Shape("Accelerator memory", less=True, log=True),
    "peak_anonymous_bytes": Shape("Anonymous memory", less=True, log=True),
    "peak_file_mapped_bytes": Shape("File-mapped memory", less=True, log=True),
    "energy_j": Shape("Energy per request", less=True, log=True),
    "accuracy_kept": Shape("Accuracy kept", percent=True),
    "task_accuracy_kept": Shape("Task accuracy kept", percent=True),
    "structured_valid": Shape("Valid structured output", percent=True),
    "structured_valid_kept": Shape("Valid structured output kept", percent=True),
    "calls_valid": Shape("Valid calls of tools", percent=True),
    "calls_valid_kept": Shape("Valid calls of tools kept", percent=True),
    "next_token_accuracy": Shape("Next-token accuracy", percent=True),
    "task_accuracy": Shape("Task accuracy", percent=True),
    "accuracy": Shape("Accuracy", percent=True),
    "same_top": Shape("Same top answer", percent=True),
    "vision_same_top": Shape("Same top answer after pictures", percent=True),
    "word_errors": Shape("Word error rate", less=True, percent=True),
    "original_word_errors": Shape("Word errors against the original", less=True, percent=True),
    "routing_agreement": Shape("Same experts", percent=True),
    "kl_mean": Shape("KL divergence", less=True, log=True, digits=2),
    "kl_at_end": Shape("KL divergence at the end of the context", less=True, log=True, digits=2),
    "kl_p99": Shape("KL divergence, p99", less=True, log=True, digits=2),
    "against_kl_mean": Shape("KL divergence from the float original", less=True, log=True, digits=2),
    "against_kl_p99": Shape("KL divergence from the float original, p99", less=True, log=True, digits=2),
    "against_same_top": Shape("Same top answer as the float original", percent=True),
    "against_accuracy_kept": Shape("Accuracy kept of the float original", percent=True),
    "against_perplexity_ratio": Shape("Perplexity, ratio to the float original", less=True, digits=4),
    "vision_kl_mean": Shape("KL divergence after pictures", less=True, log=True, digits=2),
    "relative_error": Shape("Relative error", less=True, log=True, digits=2),
    "max_error": Shape("Largest error", less=True, log=True, digits=2),
    "mean_error": Shape("Mean error", less=True, log=True, digits=2),
    "token_mismatch": Shape("Differing token ids", less=True, percent=True),
    "perplexity": Shape("Perplexity", less=True, digits=4),
    "perplexity_ratio": Shape("Perplexity, ratio", less=True, digits=4),
    "bits_per_byte": Shape("Bits per byte", less=True),
    "cosine": Shape("Cosine"),
    "speedup": Shape("Speed-up", log=True),
    "memory_cut": Shape("Memory cut", percent=True),
    "latency_cv": Shape("Latency variation", less=True, percent=True),
}


def shape(name: str) -> Shape:
    """Return how the figure is shown; an unknown figure is labelled with its name."""
    return SHAPES.get(name) or Shape(name.replace("_", " "))


def label(name: str, unit: str = "") -> str:
    """Return the figure's label, with the unit if the numbers are shown without it."""
    return (
        f"{shape(name).label} ({unit})"
        if unit in ("ms", "tokens/s", "samples/s", "requests/s", "nats", "J")
        else shape(name).label
    )


def significant(value: float, digits: int = 3) -> str:
    """Return the value with `digits` significant digits, separated thousands, and powers of ten for exponents."""
    if not math.isfinite(value):
        return "∞" if value > 0 else "-∞" if value < 0 else "not a number"
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(value)))
    rounded = round(value, digits - 1 - exponent)
    if abs(rounded) >= 10 ** (exponent + 1):  # 9.996 is 10.0, not 10.00
        exponent += 1
    if exponent < -4:
        return power_of_ten(value)
    return f"{rounded:,.{max(0, digits - 1 - exponent)}f}".replace("-", "−")


def power_of_ten(value: float, digits: int = 2) -> str:
    """Return the value as 2.4 × 10⁻⁷ with `digits` digits, or as 10⁻⁷ if the factor is 1."""
    factor, _, exponent = f"{value:.{digits - 1}e}".partition("e")
    power = f"10{str(int(exponent)).translate(_SUPERSCRIPT)}"
    return power if float(factor) == 1 else f"{factor} × {power}".replace("-", "−")


def number(name: str, value: float, unit: str = "", *, bare: bool = False) -> str:
    """Return a value as text: bytes in kB, MB or GB, shares in per cent. `bare` leaves out units such as ms."""
    if unit == "bytes":
        size, word = next((pair for pair in BYTES if abs(value) >= 0.9995 * pair[0]), BYTES[-1])
        return f"{significant(value / size)} {word}"
    if shape(name).percent or unit == "share":
        if shape(name).log or 0 < abs(value) < 1e-3:
            return f"{significant(100 * value, 2)} %"
        return f"{100 * value:.1f} %".replace("-", "−")
    if unit == "×":
        return f"{significant(value)}×"
    return significant(value, shape(name).digits) + (
        f" {unit}" if unit and unit != "ratio" and not bare else ""
    )


def unit_of(name: str) -> str:
    """Return the unit of a gate's figure, whose verdict has numbers only."""
    if name == "speedup":
        return "×"
    return "bytes" if name.endswith("bytes") else "ms" if name.endswith("_ms") else ""


def value_of(name: str, figure: Figure, *, bare: bool = False) -> str:
    """Return the figure's value as text, or a dash."""
    return "–" if figure.value is None else number(name, figure.value, figure.unit, bare=bare)


def token_ids(conversion: Conversion) -> str | None:
    """Return how a backend's token ids compare with the original's: equal, the differing share, or None if unknown."""
    if conversion.token_ids_equal is None:
        return None
    if conversion.token_ids_equal:
        return "equal"
    mismatch = conversion.token_mismatch
    if not mismatch.value:  # other differences are in the notes
        return "differ" if mismatch.value is None else "equal in text"
    return f"{value_of('token_mismatch', mismatch)} differ"


def interval_of(name: str, figure: Figure) -> str:
    """Return the ends of the interval as text, or an empty string."""
    if figure.low is None or figure.high is None:
        return ""
    ends = [number(name, end, figure.unit, bare=True) for end in (figure.low, figure.high)]
    head, tail = (_UNIT.fullmatch(end) for end in ends)
    if head and tail and head[2] == tail[2]:  # write the unit once
        ends[0] = head[1]
    return f"{ends[0]} – {ends[1]}"
