"""Device visibility: which devices each backend's runtime can use on this machine, asked in its own environment.

Each answer is the result of a job, so it is reused until the environment, the accelerators or their drivers change.
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
from edgehone.device.inventory_facts import Inventory
from edgehone.execution import store
from edgehone.execution.environments import environment
from edgehone.execution.job import Job, Limits
from edgehone.execution.processes import CHILDREN
from edgehone.execution.run import run

# A driver that hangs must not hang the run.
TIMEOUT = Limits(seconds=120)


def visible_devices(
    backends: Mapping[str, Backend],
    machine: Device,
    inventory: Inventory,
    on_progress: Callable[[str, str], None],
    *,
    fresh: bool = False,
) -> dict[str, VisibleDevices]:
    """Return the visible devices of each backend that can list them; `fresh` ignores earlier answers.

    `on_progress(backend, detail)` is called before slow steps. No environment is installed for this: if it is missing,
    or listing fails, the result holds the reason.
    """
    listing = {name: found for name, one in backends.items() if (found := capability(one, DeviceVisibility))}

    def list_devices(name: str) -> VisibleDevices:
        try:
            env = environment.installed(name, backends[name].NEEDS)
            if env is None:
                return VisibleDevices(
                    reason=f"its environment is not installed: edgehone backends install {name}"
                )
            job = Job(
                f"{listing[name].devices.__module__}:devices",
                env,
                also={"device": machine.fingerprint, "hardware": inventory.hardware},
                limits=TIMEOUT,
            )
            if fresh or not store.find(job.key, job.identity):
                on_progress(
                    name,
                    "listing the devices visible to its runtime; reused until hardware or environment change",
                )
            result = run(job, lambda fraction, what: on_progress(name, what), fresh=fresh)
            visible = VisibleDevices.from_json(result.facts)
        except EdgehoneError as error:
            return VisibleDevices(reason=error.message)
        except (TypeError, KeyError) as error:
            return VisibleDevices(reason=f"its devices() did not return VisibleDevices.to_json(): {error!r}")
        return replace(visible, absent=tuple(_explained(one, inventory) for one in visible.absent))

    with CHILDREN.pool(max(1, len(listing))) as pool:
        return dict(zip(listing, pool.map(list_devices, listing), strict=True))


def unused_accelerators(visible: Mapping[str, VisibleDevices], inventory: Inventory) -> list[str]:
    """Return a note for each accelerator of this machine that a runtime supports but does not see."""
    return [
        f"{name} does not run on {accelerator} ({accelerator.place}): {absent.id}: {absent.reason}"
        for name, one in visible.items()
        for absent in one.absent
        for accelerator in _matching(absent, inventory.accelerators or ())
    ]


def _explained(one: AbsentDevice, inventory: Inventory) -> AbsentDevice:
    """Put the missing hardware first in the reason, if this machine has no such accelerator."""
    accelerators = inventory.accelerators
    if accelerators is None or one.vendor is None or _matching(one, accelerators):
        return one
    return replace(one, reason=f"no {one.vendor} {one.kind.upper()} in this machine; {one.reason}")


def _matching(one: AbsentDevice, accelerators: Sequence[Accelerator]) -> list[Accelerator]:
    """Return the accelerators of the same kind and vendor as an absent device."""
    return [each for each in accelerators if each.kind == one.kind and each.vendor == one.vendor]
