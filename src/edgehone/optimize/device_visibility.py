"""Sight: which devices each backend's runtime sees on this machine, asked in its own environment.

The answers are jobs, so they are kept: until the environment, the accelerators or their drivers change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from edgehone.backends.base import Backend
from edgehone.backends.capabilities import DeviceVisibility, capability
from edgehone.backends.shared.visible_devices import AbsentDevice, VisibleDevices
from edgehone.core.errors import EdgehoneError
from edgehone.device.accelerators import Accelerator
from edgehone.device.facts import Device
from edgehone.device.inventory_facts import (
    Inventory,
)
from edgehone.execution import store
from edgehone.execution.environments import environment
from edgehone.execution.job import Job, Limits
from edgehone.execution.processes import CHILDREN
from edgehone.execution.run import run

# A driver that hangs must not hang whoever asks.
PATIENCE = Limits(seconds=120)


def see(
    backends: Mapping[str, Backend],
    machine: Device,
    around: Inventory,
    tell: Callable[[str, str], None],
    *,
    fresh: bool = False,
) -> dict[str, VisibleDevices]:
    """What each backend that can be asked sees; `fresh` asks anew. `tell(backend, what)` hears what takes time.

    Nothing is installed for it: where there is no environment, or the asking fails, the reason is there instead.
    """
    asked = {name: found for name, one in backends.items() if (found := capability(one, DeviceVisibility))}

    def ask(name: str) -> VisibleDevices:
        try:
            env = environment.installed(name, backends[name].NEEDS)
            if env is None:
                return VisibleDevices(
                    reason=f"its environment is not installed: edgehone backends install {name}"
                )
            job = Job(
                f"{asked[name].devices.__module__}:devices",
                env,
                also={"device": machine.fingerprint, "hardware": around.hardware},
                limits=PATIENCE,
            )
            if fresh or not store.find(job.key, job.identity):
                tell(
                    name,
                    "asking its runtime which devices it sees; kept until hardware or environment change",
                )
            found = VisibleDevices.from_json(
                run(job, lambda fraction, what: tell(name, what), fresh=fresh).facts
            )
        except EdgehoneError as error:
            return VisibleDevices(reason=error.message)
        except (TypeError, KeyError) as error:
            return VisibleDevices(reason=f"its devices() did not return VisibleDevices.to_json(): {error!r}")
        return replace(found, absent=tuple(_explained(one, around) for one in found.absent))

    with CHILDREN.pool(max(1, len(asked))) as pool:
        return dict(zip(asked, pool.map(ask, asked), strict=True))


def blind_spots(seen: Mapping[str, VisibleDevices], around: Inventory) -> list[str]:
    """A note for each accelerator of the machine that a runtime could use and does not."""
    return [
        f"{name} does not run on {accelerator} ({accelerator.place}): {absent.id}: {absent.reason}"
        for name, one in seen.items()
        for absent in one.absent
        for accelerator in _meant(absent, around.accelerators or ())
    ]


def _explained(one: AbsentDevice, around: Inventory) -> AbsentDevice:
    """With the machine's reason before the build's where there is no such hardware."""
    found = around.accelerators
    if found is None or one.vendor is None or _meant(one, found):
        return one
    return replace(one, reason=f"no {one.vendor} {one.kind.upper()} in this machine; {one.reason}")


def _meant(one: AbsentDevice, found: Sequence[Accelerator]) -> list[Accelerator]:
    """The accelerators of the machine that the absent device would be."""
    return [each for each in found if each.kind == one.kind and each.vendor == one.vendor]
