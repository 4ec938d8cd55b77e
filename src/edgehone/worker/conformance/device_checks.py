"""What a backend's runtime sees of this machine."""

from __future__ import annotations

from edgehone.backends.capabilities import DeviceVisibility, capability
from edgehone.backends.shared.visible_devices import VisibleDevices
from edgehone.worker.backend import load_backend
from edgehone.worker.conformance.outcome import Skipped, demand
from edgehone.worker.conformance.run_checks import Subject


def devices_are_told(subject: Subject) -> str:
    """devices(), if the module has it, returns what VisibleDevices.from_json() reads: each device once, the CPU among
    them, and a reason for each absent device. `edgehone device` shows them."""
    backend = capability(load_backend(subject.job), DeviceVisibility)
    if backend is None:
        raise Skipped("it has no devices")
    seen = VisibleDevices.from_json(backend.devices(subject.job))
    ids = [one.id for one in seen.devices]
    demand(any(one.kind == "cpu" for one in seen.devices), f"no CPU among {', '.join(ids) or 'none'}")
    demand(len(ids) == len(set(ids)), f"a device more than once: {', '.join(ids)}")
    silent = [one.id for one in seen.absent if not one.reason.strip()]
    demand(not silent, f"no reason why there is no {', '.join(silent)}")
    return ", ".join(ids)
