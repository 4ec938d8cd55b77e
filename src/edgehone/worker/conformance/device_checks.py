"""Worker side: the devices that a backend's runtime reports."""

from __future__ import annotations

from edgehone.backends.capabilities import DeviceVisibility, capability
from edgehone.backends.shared.visible_devices import VisibleDevices
from edgehone.worker.backend import load_backend
from edgehone.worker.conformance.outcome import Skipped, demand
from edgehone.worker.conformance.run_checks import Subject


def visible_devices_are_reported(subject: Subject) -> str:
    """devices(), if the module has it, returns what VisibleDevices.from_json() reads: each device once, the CPU among
    them, and a reason for each absent device. `edgehone device` shows them."""
    backend = capability(load_backend(subject.job), DeviceVisibility)
    if backend is None:
        raise Skipped("it has no devices()")
    visible = VisibleDevices.from_json(backend.devices(subject.job))
    ids = [one.id for one in visible.devices]
    demand(any(one.kind == "cpu" for one in visible.devices), f"no CPU among {', '.join(ids) or 'none'}")
    demand(len(ids) == len(set(ids)), f"a device more than once: {', '.join(ids)}")
    unexplained = [one.id for one in visible.absent if not one.reason.strip()]
    demand(not unexplained, f"no reason for the absence of {', '.join(unexplained)}")
    return ", ".join(ids)
