"""Resources and times of a pod, from the figures of the bundle and the factors in sizes.toml."""

from __future__ import annotations

import functools
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgehone.backends.shared.kv_budget import cache_of
from edgehone.bundle.read import Bundle
from edgehone.core.errors import InputError
from edgehone.package.targets.kubernetes.options import Settings

_MIB = 1 << 20


@dataclass(frozen=True)
class Sizes:
    """Quantities as Kubernetes writes them, and times in seconds. `reasons` says how each was computed."""

    memory: str
    cpu_request: str
    cpu_limit: str
    scratch: str
    requests_per_second: str
    startup_failures: int
    startup_seconds: int
    grace_seconds: int
    reasons: tuple[str, ...]


@functools.cache
def factors() -> Mapping[str, Any]:
    """Return the content of sizes.toml."""
    return tomllib.loads(Path(__file__).with_name("sizes.toml").read_text("utf-8"))


def sizes_of(bundle: Bundle, settings: Settings) -> Sizes:
    """Return the sizes of a pod. Raises InputError if a figure is missing that no option replaces."""
    known = factors()
    memory, memory_reason = _memory(bundle, settings)
    request, limit, cpu_reason = _cpu(bundle, settings)
    rate, rate_reason = _rate(bundle, settings)
    seconds, start_reason = _start(bundle)
    failures = math.ceil(seconds / known["startup_period_seconds"])
    grace = known["pre_stop_seconds"] + settings.request_seconds + known["end_seconds"]
    return Sizes(
        memory=memory,
        cpu_request=request,
        cpu_limit=limit,
        scratch=_mebibytes(known["scratch_bytes"]),
        requests_per_second=rate,
        startup_failures=failures,
        startup_seconds=failures * known["startup_period_seconds"],
        grace_seconds=grace,
        reasons=(
            memory_reason,
            cpu_reason,
            rate_reason,
            start_reason,
            f"terminationGracePeriodSeconds {grace}: {known['pre_stop_seconds']} s until no endpoint names the pod, "
            f"{settings.request_seconds} s for accepted requests, {known['end_seconds']} s to end",
        ),
    )


def bytes_of(bundle: Bundle) -> int:
    """Return the size of all files of a bundle."""
    return sum(one.stat().st_size for one in bundle.path.rglob("*") if one.is_file())


def _mebibytes(size: float) -> str:
    return f"{math.ceil(size / _MIB)}Mi"


def _figure(bundle: Bundle, name: str) -> float | None:
    """Return a figure of the bundled candidate."""
    bundled = bundle.decision.bundled
    return bundle.decision.candidate(bundled).figure(name).value if bundled else None


def _memory(bundle: Bundle, settings: Settings) -> tuple[str, str]:
    if settings.memory is not None:
        return settings.memory, f"memory {settings.memory}: --set memory"
    known = factors()
    peak = _figure(bundle, "peak_memory_bytes")
    if peak is None:
        raise InputError("the peak memory of the bundle was not measured", hint="--set memory=512Mi")
    cache = _cache_bytes(bundle, settings.parallel)
    total = _mebibytes(peak * known["memory_headroom"] + cache + known["server_memory_bytes"])
    return total, (
        f"memory {total}: the measured peak of {peak / 1e6:.0f} MB × {known['memory_headroom']}, "
        f"{cache / 1e6:.0f} MB for a full KV cache, {known['server_memory_bytes'] / 1e6:.0f} MB for the server"
    )


def _cache_bytes(bundle: Bundle, parallel: int) -> int:
    """Return the bytes of the server's KV cache when it is full; 0 for a graph."""
    per_token = bundle.decision.model.get("kv_bytes_per_token")
    if bundle.manifest.kind == "graph" or not isinstance(per_token, int):
        return 0
    context = bundle.decision.model.get("context")
    return per_token * cache_of(context if isinstance(context, int) else None, parallel)


def _cpu(bundle: Bundle, settings: Settings) -> tuple[str, str, str]:
    own = factors()["server_cpu_milli"]
    if settings.cpu is not None:
        asked = settings.cpu
        milli = int(asked[:-1]) if asked.endswith("m") else math.ceil(float(asked) * 1000)
        return asked, f"{milli + own}m", f"cpu {asked}: --set cpu; the limit has {own}m more for the server"
    recipe = bundle.manifest.recipe["settings"]
    threads = int(recipe.get("threads") or bundle.decision.device.get("threads") or 1)
    return (
        str(threads),
        f"{threads * 1000 + own}m",
        (f"cpu {threads}: the threads of the proof; the limit has {own}m more for the server"),
    )


def _rate(bundle: Bundle, settings: Settings) -> tuple[str, str]:
    known = factors()
    if settings.requests_per_second is not None:
        rate, reason = settings.requests_per_second, "--set requests-per-second"
    else:
        measured = _figure(bundle, "requests_per_s")
        if measured is None:
            raise InputError(
                "the requests per second of the bundle were not measured", hint="--set requests-per-second=5"
            )
        rate = min(measured * known["request_share"], known["most_requests_per_second"])
        share = f"{known['request_share']:.0%} of the {measured:.3g} that the engine alone was measured at"
        reason = (
            share if rate < known["most_requests_per_second"] else f"the most of a server; {share} is more"
        )
    return (
        f"{max(1, round(rate * 1000))}m",
        f"a replica is added above {rate:.3g} requests a second: {reason}",
    )


def _start(bundle: Bundle) -> tuple[float, str]:
    known = factors()
    load = (_figure(bundle, "load_cold_ms") or 0.0) / 1000
    reading = bytes_of(bundle) / known["verified_bytes_per_second"]
    seconds = known["start_seconds"] + load * known["load_factor"] + reading
    return seconds, (
        f"start within {seconds:.0f} s: {known['start_seconds']} s, {known['load_factor']} times the measured load of "
        f"{load:.2f} s, {reading:.0f} s to verify the files"
    )
