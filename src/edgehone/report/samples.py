"""Raw samples in tidy long form: one line per sample."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

# Column of the evidence's arrays → figure and unit.
_COLUMNS = {
    "kl": ("kl", "nats"),
    "nll": ("negative_log_likelihood", "nats"),
    "max_error": ("max_error", "nats"),
    "mean_error": ("mean_error", "nats"),
    "same_top": ("same_top", ""),
    "correct": ("correct", ""),
}
_MEMORY = {"peak": "peak_memory", "pss": "pss", "cgroup_peak": "cgroup_peak"}


@dataclass(frozen=True)
class Sample:
    """One sample of a figure. `round` is the process for speed and the window for quality, `index` the number in it."""

    figure: str
    round: int
    index: int
    value: float
    unit: str


def readings(samples: Mapping[str, Any], work: Mapping[str, Any]) -> Iterator[Sample]:
    """Yield all samples of a candidate's samples.json. Values that are missing or not numbers are left out.

    `work` is the workload, from whose numbers of tokens prefill and decode of a request are computed.
    """
    for number, one in enumerate(_tables(samples.get("rounds"))):
        yield from _some("load_ms", number, 0, one.get("load"), "ms", scale=1000)
        for index, request in enumerate(_tables(one.get("requests"))):
            yield from _request(number, index, request, work)
        conditions = one.get("conditions")
        if isinstance(conditions, Mapping):
            yield from _some("others_share", number, 0, conditions.get("others_share"), "share")
    memory = samples.get("memory")
    if isinstance(memory, Mapping):
        for name, figure in _MEMORY.items():
            yield from _some(figure, 0, 0, memory.get(name), "bytes")
        peaks = memory.get("peaks")
        for name, value in peaks.items() if isinstance(peaks, Mapping) else ():
            yield from _some(f"peak_{name}", 0, 0, value, "bytes")
    yield from _outputs(samples)
    energy = samples.get("energy")
    for index, value in enumerate(_list(energy.get("joules")) if isinstance(energy, Mapping) else []):
        yield from _some("energy", 0, index, value, "J")


def _outputs(samples: Mapping[str, Any]) -> Iterator[Sample]:
    """Yield the samples of a graph: the agreement of each sample's outputs, and samples per second by batch size."""
    outputs, throughput = samples.get("outputs"), samples.get("throughput")
    for name, values in outputs.items() if isinstance(outputs, Mapping) else ():
        for index, value in enumerate(_list(values)):
            yield from _some(str(name), 0, index, value, "share" if name == "relative_error" else "")
    if isinstance(throughput, Mapping):
        rates = throughput.get("rates")
        for batch, value in rates.items() if isinstance(rates, Mapping) else ():
            yield from _some(f"throughput_at_batch_{batch}", 0, 0, value, "samples/s")
        for index, value in enumerate(_list(throughput.get("again"))):
            yield from _some("throughput", 0, index, value, "samples/s")


def array_readings(columns: Mapping[str, Any]) -> Iterator[Sample]:
    """Yield all samples of a candidate's tokens.npz: one per scored token, numbered within its window."""
    import numpy as np

    windows = np.asarray(columns["window"])
    at = np.zeros(len(windows), np.int64)
    for start in np.flatnonzero(np.diff(windows, prepend=windows[:1] - 1)):
        at[start:] = np.arange(len(windows) - start)
    for name, (figure, unit) in _COLUMNS.items():
        if name in columns:
            for window, index, value in zip(windows, at, columns[name], strict=True):
                yield Sample(figure, int(window), int(index), float(value), unit)


def by_figure(readings: Iterator[Sample]) -> dict[str, list[Sample]]:
    """Return the samples of each figure."""
    figures: dict[str, list[Sample]] = {}
    for one in readings:
        figures.setdefault(one.figure, []).append(one)
    return figures


def _request(
    number: int, index: int, request: Mapping[str, Any], work: Mapping[str, Any]
) -> Iterator[Sample]:
    total, first = request.get("total"), request.get("ttft")
    yield from _some("latency_ms", number, index, total, "ms", scale=1000)
    yield from _some("ttft_ms", number, index, first, "ms", scale=1000)
    prompt, generated = work.get("prompt_tokens"), work.get("generated_tokens")
    batch, clients = work.get("batch", 1), work.get("concurrency", 1)
    if not (_number(first) and first > 0):
        return
    # With several clients the time to the first token includes waiting for other clients.
    if _number(prompt) and prompt and _number(batch) and clients == 1:
        yield Sample("prefill_tokens_per_s", number, index, batch * prompt / first, "tokens/s")
    if _number(generated) and generated > 1 and _number(total) and total > first:
        yield Sample("decode_tokens_per_s", number, index, (generated - 1) / (total - first), "tokens/s")


def _some(
    figure: str, number: int, index: int, value: Any, unit: str, *, scale: float = 1.0
) -> Iterator[Sample]:
    if _number(value):
        yield Sample(figure, number, index, value * scale, unit)


def _number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else []


def _tables(value: Any) -> list[Mapping[str, Any]]:
    return [one for one in _list(value) if isinstance(one, Mapping)]
