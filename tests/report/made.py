"""Findings made up by a seed: as many candidates as asked for, whose figures, verdicts and samples fit each other."""

from __future__ import annotations

import random
from typing import Any

from edgehone.core.figure import Figure
from edgehone.decision.decide import Subject, decide
from edgehone.decision.decision import UNITS, Candidate, Decision
from edgehone.decision.requirements import load
from edgehone.report.findings import Findings

_BACKENDS = ("llamacpp", "openvino", "olive", "mlx")
WEIGHTS = {"speed": 1.0, "throughput": 0.0, "quality": 8.0, "memory": 0.3, "size": 0.1}
_DEVICE = {
    "cpu": "A CPU of the tests",
    "threads": 2,
    "memory_bytes": 8_000_000_000,
    "simd": ["avx2", "avx512f"],
}
_MODEL = {
    "architecture": "LlamaForCausalLM",
    "parameters": 3_700_000,
    "path": "/models/tiny",
    "digest": "0" * 64,
}
_WORK = {"name": "chat", "prompt_tokens": 256, "generated_tokens": 128, "batch": 1, "concurrency": 1}


def made(count: int, seed: int = 0, requests: int = 20) -> Findings:
    """A bundle's findings with `count` candidates besides the original, each with three rounds of `requests`."""
    chance = random.Random(seed)
    samples = {}
    baseline, samples["pytorch/original"] = _candidate(chance, "pytorch/original", 1.0, requests)
    candidates = []
    for number in range(count):
        bits, group = chance.choice((3, 4, 8)), 2 ** chance.randint(4, 8)
        key = f"{_BACKENDS[number % len(_BACKENDS)]}/int{bits}_g{group}_{number}"
        one, samples[key] = _candidate(chance, key, chance.uniform(0.05, 0.8), requests)
        candidates.append(one)
    candidates.append(Candidate("olive/broken", "olive", {}, "failed", "std::bad_alloc", "/logs/log.txt"))
    logs = {"olive/broken": "at the end\n" * 20}
    return Findings(f"made-{count}", _decided(candidates, baseline), samples, logs, "edgehone optimize x")


def _decided(candidates: list[Candidate], baseline: Candidate) -> Decision:
    return decide(
        candidates,
        baseline,
        load(),
        WEIGHTS,
        Subject(
            device=_DEVICE,
            model=_MODEL,
            workload={**_WORK, "task": "text-generation", "weights": WEIGHTS},
            versions={"llamacpp": {"llama-cpp-python": "0.3.36"}},
            edgehone="0.1.0",
        ),
        notes=["speed not steady within 3 % of the value: some"],
        created="2026-01-02T03:04:05+00:00",
    )


def _candidate(
    chance: random.Random, key: str, share: float, requests: int
) -> tuple[Candidate, dict[str, Any]]:
    """One that takes `share` of the original's time, memory and bytes, more or less."""
    latency, memory = 0.3 * share, 4e8 * share * chance.uniform(0.5, 1.0)
    rounds = []
    for number in range(3):
        times = [latency * chance.lognormvariate(0.02 * number, 0.04) for _ in range(requests)]
        asked = [{"ttft": t * 0.2, "total": t} for t in times]
        rounds.append(
            {"cold": number == 0, "load": 0.2, "requests": asked, "conditions": {"others_share": 0.01}}
        )
    kl = 0.0 if key.startswith("pytorch") else chance.lognormvariate(-5.5, 1.5)
    kept = min(1.0, 1.0 - kl / 2)

    def about(value: float, unit: str, spread: float = 0.03) -> Figure:
        return Figure(value, value * (1 - spread), value * (1 + spread), 3, unit)

    figures = {name: Figure.missing("not measured", unit) for name, unit in UNITS.items()}
    figures |= {
        "workload_latency_ms": about(1000 * latency, "ms"),
        "prefill_tokens_per_s": about(256 / (latency * 0.2), "tokens/s"),
        "decode_tokens_per_s": about(127 / (latency * 0.8), "tokens/s"),
        "ttft_ms": about(200 * latency, "ms"),
        "kl_mean": about(kl, "nats", 0.1),
        "same_top": about(min(1.0, 1 - kl), "share", 0.005),
        "accuracy_kept": about(kept, "ratio", 0.005),
        "perplexity_ratio": about(1 + kl, "ratio", 0.002),
        "latency_cv": Figure(0.04, n=60, unit="ratio"),
        "peak_memory_bytes": Figure(memory, n=1, unit="bytes"),
        "peak_anonymous_bytes": Figure(memory * 0.4, n=1, unit="bytes"),
        "peak_file_mapped_bytes": Figure(memory * 0.6, n=1, unit="bytes"),
        "energy_j": Figure.missing("this machine shows no RAPL energy counter", "J"),
    }
    recipe = {"backend": key.partition("/")[0], "name": key.partition("/")[2], "build": {}, "settings": {}}
    one = Candidate(key, recipe["backend"], recipe, bytes=int(2e7 * share), figures=figures)  # type: ignore[arg-type]
    return one, {"rounds": rounds}
