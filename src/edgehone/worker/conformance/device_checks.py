"""What a backend's runtime sees of this machine."""

from __future__ import annotations

import importlib

from edgehone.backends.shared.visible_devices import Seen
from edgehone.worker.conformance.outcome import Skipped, demand
from edgehone.worker.conformance.run_checks import Subject


def devices_are_told(subject: Subject) -> str:
    """devices(), where the module has it, gives what Seen.from_json() reads, the CPU among the devices, each once,
    and a reason for each that is absent: `edgehone device` shows them."""
    backend = importlib.import_module(subject.job.args["backend"])
    if not hasattr(backend, "devices"):
        raise Skipped("it has no devices")
    seen = Seen.from_json(backend.devices(subject.job))
    ids = [one.id for one in seen.devices]
    demand(any(one.kind == "cpu" for one in seen.devices), f"no CPU among {', '.join(ids) or 'none'}")
    demand(len(ids) == len(set(ids)), f"a device more than once: {', '.join(ids)}")
    silent = [one.id for one in seen.absent if not one.reason.strip()]
    demand(not silent, f"no reason why there is no {', '.join(silent)}")
    return ", ".join(ids)
