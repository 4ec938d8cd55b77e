"""Whether a bundle fits this device: its instruction set, its memory, its accelerators."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from edgehone.bundle.read import Bundle
from edgehone.core.errors import EdgehoneError
from edgehone.device.accelerators import Accelerator
from edgehone.device.facts import Device
from edgehone.device.inventory import read_inventory
from edgehone.package.proof import normal, proof_of_device, uncovered

# Words in the setting `device` of recipes, and the kind of accelerator that they need.
_KINDS = {"GPU": "gpu", "CUDA": "gpu", "METAL": "gpu", "NPU": "npu"}


def misfits(
    bundle: Bundle, device: Device, accelerators: Sequence[Accelerator] | None, *, proven: bool
) -> list[str]:
    """Return why a bundle does not fit a device, one sentence each; nothing if it does.

    What the device does not tell (None) speaks against nothing: the start-up proof decides. `proven`: the kernels that
    the bundle's figures hold for must be among those of the device.
    """
    found = [
        _instructions(bundle, device, proven=proven),
        _memory(bundle, device),
        _accelerator(bundle, accelerators),
    ]
    return [one for one in found if one]


def accelerators_here(folder: Path) -> Sequence[Accelerator] | None:
    """Return this machine's accelerators; None if it does not tell."""
    return read_inventory(folder).accelerators


def peak_memory(bundle: Bundle) -> int | None:
    """Return the bytes of memory that the bundle took at most when it was measured; None if that is not known."""
    try:
        figure = bundle.decision.candidate(bundle.decision.bundled or "").figure("peak_memory_bytes")
    except (EdgehoneError, KeyError):
        return None
    return None if figure.value is None else int(figure.value)


def _instructions(bundle: Bundle, device: Device, *, proven: bool) -> str | None:
    proof = proof_of_device(bundle.manifest.target or bundle.manifest.device)
    here = normal(device.architecture, ())
    if normal(proof.architecture, ()).architecture != here.architecture:
        return f"it was proven on {proof.architecture}, this device is {device.architecture}"
    if not proven:
        return None
    found = uncovered([proof], None, device.to_json(), "PACKAGE")
    return found.partition(": edgehone prove")[0] if found else None


def _memory(bundle: Bundle, device: Device) -> str | None:
    peak, usable = peak_memory(bundle), device.usable_memory_bytes
    if peak is None or usable is None or peak <= usable:
        return None
    return f"it takes {peak / 1e6:.0f} MB of memory, this device has {usable / 1e6:.0f} MB"


def _accelerator(bundle: Bundle, accelerators: Sequence[Accelerator] | None) -> str | None:
    asked = str(bundle.manifest.recipe["settings"].get("device") or "")
    words = re.findall(r"[A-Z]+", asked.upper())
    kinds = {_KINDS[word] for word in words if word in _KINDS}
    if (
        not kinds or accelerators is None or "CPU" in words
    ):  # with CPU among them the runtime falls back to it
        return None
    missing = kinds - {one.kind for one in accelerators}
    return f"it runs on {asked}, and this device has no {' or '.join(sorted(missing))}" if missing else None
