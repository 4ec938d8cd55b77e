"""Facts about a bundle or a model on this machine, which the conditions in causes.toml name.

An unknown fact is None with a reason, and leaves the conditions on it undetermined. Nothing large is read and nothing
measured but what other programs want of the processors, for half a second: all facts together take about a second.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgehone.backends import registry
from edgehone.backends.base import Recipe
from edgehone.bundle import Bundle, verify
from edgehone.core.figure import Figure
from edgehone.decision.decision import Candidate
from edgehone.device.cached_rate import read_cached
from edgehone.device.cgroup import read_limits
from edgehone.device.demand import others_demand
from edgehone.device.detect import detect
from edgehone.device.facts import Device
from edgehone.device.inventory import read_inventory
from edgehone.device.throttle import read_conditions
from edgehone.diagnosis.own_processes import processes_of
from edgehone.execution.environments import environment
from edgehone.execution.home import home
from edgehone.execution.threads import (
    threads_of,
)
from edgehone.model import kv_cache
from edgehone.model.info import ModelInfo
from edgehone.optimize.fitting import free_memory
from edgehone.plan import building

Value = float | int | str | bool
# A bundle's files are hashed only up to this total size, so that a diagnosis stays fast.
HASHED_BYTES = 200 << 20
# A clock below this share of a core's maximum counts as slow.
_SLOW_CLOCK = 0.7
# Candidates up to this many times the chosen one's size count as alternatives of about its size.
SIMILAR_SIZE = 1.25


@dataclass(frozen=True)
class Fact:
    """A value, or None with the reason."""

    value: Value | None
    reason: str | None = None


Facts = dict[str, Fact]


def of_bundle(bundle: Bundle) -> Facts:
    """Return the facts about a bundle on this machine now."""
    machine = detect()
    chosen = bundle.decision.candidate(
        f"{bundle.manifest.recipe['backend']}/{bundle.manifest.recipe['name']}"
    )
    return {
        **_subject(bundle),
        **_memory(bundle, chosen, machine),
        **_speed(bundle, chosen, machine),
        **_quality(bundle, chosen),
        **_machine(bundle, machine),
        **_files(bundle),
        **_environment(bundle),
    }


def of_model(model: ModelInfo) -> Facts:
    """Return the facts about a model before it is optimized, and about this machine."""
    machine = detect()
    free = free_memory(machine)
    memory = building.memory(Recipe("other", "any"), model)
    takers = [
        name for name, one in registry.load_all().items() if not one.REFERENCE and one.supports(model).ok
    ]
    cache = kv_cache.cache_bytes(model, model.context) if model.context else None
    rows = [size % 256 for size in (model.hidden_size, model.intermediate_size) if size]
    return {
        "model": Fact(str(model.path)),
        "kind": Fact(model.kind),
        "backends": Fact(len(takers)),
        "backend_names": Fact(", ".join(takers)),
        "remote_code": Fact(model.remote_code),
        "quantized": Fact(model.quantized is not None),
        "tokenizer": Fact(model.tokenizer is not None),
        "row_over_256": _known(max(rows, default=None), "the model's files do not state its row lengths"),
        "build_of_available": _share(memory, free, "the free memory of this machine is unknown"),
        "cache_of_weights": _share(cache, model.bytes, "the size of its KV cache is unknown"),
    }


def _subject(bundle: Bundle) -> Facts:
    recipe, work = bundle.manifest.recipe, bundle.decision.workload
    settings: Mapping[str, Any] = recipe["settings"]
    default_cache = {"llamacpp": "f16", "openvino": "u8"}.get(recipe["backend"])
    return {
        "bundle": Fact(str(bundle.path)),
        "model": Fact(str(bundle.decision.model.get("path", "MODEL"))),
        "backend": Fact(recipe["backend"]),
        "kind": Fact(bundle.manifest.kind),
        "kv_cache": _known(
            settings.get("kv_cache", default_cache), "the precision is unknown for this backend"
        ),
        "streams": Fact(int(settings.get("streams", 1))),
        "batch": Fact(int(work["batch"])),
        "concurrency": Fact(int(work.get("concurrency", 1))),
        "calibrated": Fact(_calibrated(recipe["build"])),
    }


def _calibrated(build: Mapping[str, Any]) -> bool:
    """Return True if the build parameters mention a method that uses calibration data."""
    text = repr(sorted(build.items())).lower()
    return any(
        word in text for word in ("gptq", "awq", "imatrix", "scale_estimation", "lora", "calibr", "dwq")
    )


def _memory(bundle: Bundle, chosen: Candidate, machine: Device) -> Facts:
    peak = chosen.figure("peak_memory_bytes")
    free = free_memory(machine)
    model, work = bundle.decision.model, bundle.decision.workload
    # Decisions of earlier versions do not state the windowed part.
    cache = kv_cache.size_of(
        model.get("kv_bytes_per_token"),
        model.get("kv_windowed_bytes_per_token", 0),
        model.get("sliding_window"),
        work["context"],
    )
    asked = work["prompt_tokens"] + work["generated_tokens"]
    return {
        "peak_of_available": _share(
            peak.value, free, peak.reason or "the free memory of this machine is unknown"
        ),
        "free_mb": _known(free and free // 1_000_000, "the free memory of this machine is unknown"),
        "cache_of_peak": _share(cache, peak.value, peak.reason or "the size of its KV cache is unknown"),
        "context_of_asked": _share(work["context"], asked or None, "it generates no tokens"),
    }


def _speed(bundle: Bundle, chosen: Candidate, machine: Device) -> Facts:
    latency, first = chosen.figure("workload_latency_ms"), chosen.figure("ttft_ms")
    cold, warm = chosen.figure("load_cold_ms").value, chosen.figure("load_warm_ms").value
    disk = max(0.0, 1 - warm / cold) if cold and warm is not None else None
    return {
        "latency_cv": _figure(chosen.figure("latency_cv")),
        "ttft_of_latency": _share(
            first.value, latency.value, first.reason or latency.reason or "not measured"
        ),
        "half_ttft_ms": _known(first.value and round(first.value / 2, 2), first.reason or "not measured"),
        "disk_of_start": _known(disk, "cold and warm start were not both measured"),
        "bandwidth_share": _bandwidth_share(chosen, machine),
    }


def _bandwidth_share(chosen: Candidate, machine: Device) -> Fact:
    decode = chosen.figure("decode_tokens_per_s")
    bandwidth = read_cached(machine, home() / "bandwidth")
    last_cache = max(machine.caches.values(), default=None)
    if decode.value is None or chosen.bytes is None:
        return Fact(None, decode.reason or "its size is unknown")
    if bandwidth is None or bandwidth.value is None:
        return Fact(None, "the memory bandwidth is not measured yet: edgehone device")
    if last_cache is not None and chosen.bytes < 2 * last_cache:
        return Fact(None, "its weights fit the processor's caches")
    return Fact(chosen.bytes * decode.value / (bandwidth.value * 1e9))


def _quality(bundle: Bundle, chosen: Candidate) -> Facts:
    divergence, kept = chosen.figure("kl_mean"), chosen.figure("accuracy_kept")
    # Compare with candidates of about the same size only: much larger ones are expected to be better.
    passing = [
        (figure, one.key)
        for one in bundle.decision.candidates
        if one.passes
        and (figure := one.figure("kl_mean").value)
        and (one.bytes or math.inf) <= SIMILAR_SIZE * (chosen.bytes or math.inf)
    ]
    best, best_name = min(passing, default=(None, None))
    width = kept.high - kept.low if kept.low is not None and kept.high is not None else None
    return {
        "kl_mean": _figure(divergence),
        "better_quality": _share(
            divergence.value, best, divergence.reason or "no passing candidate has a divergence"
        ),
        "better_candidate": _known(best_name, "no passing candidate has a divergence"),
        "accuracy_width": _known(width, kept.reason or "it has no interval"),
    }


def _machine(bundle: Bundle, machine: Device) -> Facts:
    made_on = bundle.decision.device
    was, now = made_on.get("simd"), machine.simd
    missing = sorted(set(was) - set(now)) if was is not None and now is not None else None
    same_architecture = made_on.get("architecture") == machine.architecture
    inventory = read_inventory(home())
    battery = inventory.power.source == "battery" if inventory.power is not None else None
    conditions = read_conditions()
    threads = threads_of(bundle.manifest.recipe["settings"], machine)
    limits = read_limits(Path("/"))
    return {
        "same_machine": Fact(made_on.get("fingerprint") == machine.fingerprint),
        "simd_missing": _known(
            len(missing or ()) if missing is not None and same_architecture else None,
            "the instruction sets of a machine are unknown, or the architectures differ",
        ),
        "simd_missing_names": Fact(", ".join(missing or ())),
        "threads": Fact(threads),
        "physical_cores": _known(machine.physical_cores, "the number of physical cores is unknown"),
        "threads_of_cores": _share(
            threads, machine.physical_cores, "the number of physical cores is unknown"
        ),
        **_crowding(threads, others_demand(processes_of(bundle.path)), machine.threads),
        "quota_of_cores": _known(
            limits.cpus and machine.logical_cores and limits.cpus / machine.logical_cores, "there is no quota"
        ),
        "on_battery": _known(battery, inventory.reasons.get("power", "the power source is unknown")),
        "governor": _known(
            (conditions.governors or (None,))[0],
            conditions.reasons.get("governors", "the frequency governor is unknown"),
        ),
        "throttled_clock": _slow_clock(conditions.mean_mhz),
    }


def _crowding(threads: int, others: float | None, processors: int) -> Facts:
    """Return how many processors the bundle's threads and the `others` lack, and how many the others leave free."""
    reason = "this system does not count how long threads wait for a processor"
    free = None if others is None else max(1, round(processors - others))
    crowded = None if others is None else round(threads + others - processors, 2)
    each = None if others is None else round(others / processors, 2)
    return {
        "others_per_processor": _known(each, reason),
        "crowded_threads": _known(crowded, reason),
        "free_threads": _known(free, reason),
    }


def _slow_clock(mhz: float | None, root: Path = Path("/sys/devices/system/cpu/cpu0/cpufreq")) -> Fact:
    try:
        most = int((root / "cpuinfo_max_freq").read_text("ascii")) / 1000
    except (OSError, ValueError):
        return Fact(None, "the maximum clock of the cores is unknown")
    if mhz is None:
        return Fact(None, "the current clock of the cores is unknown")
    return Fact(mhz < _SLOW_CLOCK * most)


def _files(bundle: Bundle) -> Facts:
    size = sum(path.stat().st_size for path in bundle.path.rglob("*") if path.is_file())
    if size > HASHED_BYTES:
        return {"files_differ": Fact(None, f"{size / 1e6:.0f} MB are too large to hash here: edgehone show")}
    return {"files_differ": Fact(len(verify(bundle)))}


def _environment(bundle: Bundle) -> Facts:
    name = bundle.manifest.recipe["backend"]
    if name not in registry.names():
        reason = f"the backend {name} is not installed"
        return {
            "environment": Fact(False),
            "versions_differ": Fact(None, reason),
            "versions_differ_names": Fact(None, reason),
        }
    env = environment.state(name, registry.load(name).NEEDS)
    if env.state not in ("ready", "own"):
        reason = env.reason or "its environment is not installed"
        return {
            "environment": Fact(False),
            "versions_differ": Fact(None, reason),
            "versions_differ_names": Fact(None, reason),
        }
    differ = bundle.drifted(env.versions)
    return {
        "environment": Fact(True),
        "versions_differ": Fact(len(differ)),
        "versions_differ_names": Fact(", ".join(differ)),
    }


def _figure(figure: Figure) -> Fact:
    return Fact(figure.value, figure.reason)


def _known(value: Value | None, reason: str) -> Fact:
    return Fact(None, reason) if value is None else Fact(value)


def _share(part: float | None, whole: float | None, reason: str) -> Fact:
    return Fact(part / whole) if part is not None and whole else Fact(None, reason)
