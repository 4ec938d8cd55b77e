"""Live facts about a served model and its machine, which service.toml and remedies.toml name.

An unknown fact is None with a reason, and leaves the conditions on it undetermined.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgehone.diagnosis.facts import Fact, Facts
from edgehone.operate.control_group import Group
from edgehone.operate.machine import Growth, Processors


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Observations of a server at one time.

    `model` and `server` are from GET /admin/bundles, `watch` the model's entry of GET /admin/watch, `metrics` sums of
    the last scrape by name; `recent` are increases since the loop's earlier scrapes. `changed` says how long ago, in
    seconds, someone else changed how the model is served, and what.
    """

    model: Mapping[str, Any] | None
    server: Mapping[str, Any]
    watch: Mapping[str, Any]
    up: bool
    metrics: Mapping[str, float]
    recent: Mapping[str, float]
    processors: Processors | None
    growth: Growth | None
    faults_per_s: float | None
    read_per_s: float | None
    io_pressure: float | None
    free_bytes: int | None
    clock_jump_s: float
    changed: tuple[float, str] | None
    group: Group | None


def facts_of(seen: Seen) -> Facts:
    """Return the facts. Figures are rounded as texts show them."""
    return {
        **_model(seen),
        **_machine(seen),
        **_requests(seen),
        **_drift(seen),
    }


def _model(seen: Seen) -> Facts:
    one = seen.model
    if one is None:
        names = (
            "backend", "kind", "ready", "problem", "ended", "threads", "proven_threads", "threads_of_proven",
            "decode_threads_of_threads",
            "prefix_cache", "context", "places", "batch", "load", "mmap", "waiting", "waiting_of_places",
            "running_of_places", "changed_s", "changed_what", "kept", "unload_after",
        )  # fmt: skip
        return {name: Fact(None, "the server does not tell") for name in names} | {"cores": _cores(seen)}
    settings, accepts = one["settings"], one["accepts"]
    cores = _cores(seen)
    threads, places, proven = one["threads"], one["places"], _proven(one, seen)

    def setting(name: str) -> Fact:
        if name in settings:
            return Fact(settings[name])
        known = accepts.get(name)
        return Fact(known[0]) if known else Fact(None, f"{one['backend']} has no setting {name}")

    waiting, running = (
        seen.metrics.get("waiting", one["waiting"]),
        seen.metrics.get("running", one["running"]),
    )
    changed = seen.changed
    return {
        "backend": Fact(one["backend"]),
        "kind": Fact(one["kind"]),
        "ready": Fact(one["state"] != "not ready"),
        "problem": Fact(one["problem"] or "none"),
        "ended": _known(one.get("ended"), "no process of it has ended by itself"),
        "threads": Fact(threads),
        "cores": cores,
        "proven_threads": proven,
        "threads_of_proven": _share(threads, proven.value),
        "decode_threads_of_threads": _share(settings.get("decode_threads", threads), threads),
        "prefix_cache": setting("prefix_cache"),
        "load": setting("load"),
        "mmap": setting("mmap"),
        "context": _known(one["context"], "it has no limit"),
        "batch": _known(one["change"]["batch"], "it is the batch that was best when the bundle was made"),
        "places": Fact(places),
        "waiting": Fact(waiting),
        "waiting_of_places": _share(waiting, places),
        "running_of_places": _share(running, places),
        "kept": Fact(bool(one["change"].get("keep"))),
        "unload_after": _known(seen.server.get("unload_after"), "models are never unloaded"),
        "changed_s": _known(changed and round(changed[0]), "it is served as at the start"),
        "changed_what": _known(changed and changed[1], "it is served as at the start"),
    }


def _cores(seen: Seen) -> Fact:
    """Return the most threads that are useful: one for each physical core that the server may use."""
    usable = seen.server.get("threads")
    if usable is None:
        return Fact(None, "the server does not tell its cores")
    return Fact(min(usable, seen.server.get("physical_cores") or usable))


def _proven(model: Mapping[str, Any], seen: Seen) -> Fact:
    """Return the threads with which the bundle was proven on this machine, at most those that are usable now.

    Of a bundle from another machine nothing is known but the cores of this one.
    """
    proven, usable = model.get("proven_threads"), seen.server.get("threads")
    return _cores(seen) if proven is None or usable is None else Fact(min(proven, usable))


def _machine(seen: Seen) -> Facts:
    hidden = "the server's process cannot be seen from here"
    both, grown, group = seen.processors, seen.growth, seen.group
    throttled = group.throttled_share if group else None
    growth = {
        "own_growth_mb": _known(grown and round(grown.own / 1e6), hidden),
        "others_growth_mb": _known(grown and round(grown.others / 1e6), hidden),
        "others_growth_name": _known(grown and grown.name, hidden),
        "growth_s": _known(grown and round(grown.seconds), hidden),
        "growth_of_others": _share(grown and max(0, grown.own), grown and grown.others),
    }
    return {
        **growth,
        "others_share": _known(both and round(both.others, 2), hidden),
        "all_share": _known(both and round(both.own + both.others, 2), hidden),
        "others_names": _known(both and ", ".join(both.names), hidden),
        "throttled_periods": _known(
            None if throttled is None else round(throttled, 2), "its control group has no quota"
        ),
        "quota": _known(group and group.cpus, "its control group has no quota"),
        "faults_per_s": _known(None if seen.faults_per_s is None else round(seen.faults_per_s, 1), hidden),
        "read_mb_per_s": _known(None if seen.read_per_s is None else round(seen.read_per_s / 1e6, 1), hidden),
        "io_pressure": _known(seen.io_pressure, "this system does not tell the pressure on its disks"),
        "clock_throttled": _flag(seen.metrics.get("throttled")),
        "disk_write_s": _known(
            None if (waited := seen.metrics.get("disk_write_s")) is None else round(waited, 2),
            "the server does not tell",
        ),
        "free_mb": _known(seen.free_bytes and round(seen.free_bytes / 1e6), "the disk does not tell"),
        "clock_jump_s": Fact(round(abs(seen.clock_jump_s), 1)),
    }


def _requests(seen: Seen) -> Facts:
    recent = seen.recent
    requests, invalid = recent.get("requests"), recent.get("invalid")
    share = None if not requests or invalid is None else round(invalid / requests, 3)
    return {
        "up": Fact(seen.up),
        "restarts": _known(recent.get("restarts"), "the server does not tell"),
        "loads": _known(recent.get("loads"), "the server does not tell"),
        "changed_files": _known(seen.metrics.get("changed_files"), "the server does not tell"),
        "invalid_share": _known(share, "no request came"),
        "template_violations": _known(recent.get("violations"), "the server does not tell"),
    }


def _drift(seen: Seen) -> Facts:
    metrics, drift = seen.metrics, seen.watch.get("drift") or {}
    says = "; ".join(
        str(one.get("changed") or one.get("name")) for one in drift.get("evidence", ()) if one.get("alarm")
    )
    inputs = [metrics[name] for name in ("drift_inputs", "drift_joint") if name in metrics]
    return {
        "drift_inputs": _flag(max(inputs, default=None)),
        "drift_answers": _flag(metrics.get("drift_answers")),
        "drift_service": _flag(metrics.get("drift_service")),
        "drift_says": Fact(says or "see GET /admin/watch"),
    }


def _flag(value: float | None) -> Fact:
    return Fact(None, "the server does not tell") if value is None else Fact(value > 0)


def _known(value: Any, reason: str) -> Fact:
    return Fact(None, reason) if value is None else Fact(value)


def _share(part: Any, whole: Any) -> Fact:
    return Fact(round(part / whole, 3)) if part is not None and whole else Fact(None, "it is not known")
