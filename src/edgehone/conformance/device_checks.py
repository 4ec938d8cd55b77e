"""Core side: the recipes that a backend offers for accelerators."""

from __future__ import annotations

from edgehone.backends.base import Step
from edgehone.backends.capabilities import DeviceRecipes, capability
from edgehone.backends.shared.visible_devices import RuntimeDevice, VisibleDevices
from edgehone.conformance.subject import Subject
from edgehone.worker.conformance.outcome import Skipped, demand

# Fictitious devices: the recipes for them are inspected, not run.
VISIBLE = VisibleDevices(
    (
        RuntimeDevice("CPU", "cpu"),
        RuntimeDevice("GPU", "gpu", "a GPU", {"capabilities": ["FP32", "FP16"]}),
        RuntimeDevice("NPU", "npu", "an NPU", {"capabilities": ["FP16"]}),
    )
)


def device_recipes_are_valid(subject: Subject) -> str:
    """device_recipes(), if the module has it, returns variants of its recipes. Each names a visible device in its
    settings and after the @ of its name; each device has exactly one exact variant, or a reason why it has none.
    Variants are built and checked like all recipes."""
    offering = capability(subject.backend, DeviceRecipes)
    if offering is None:
        raise Skipped("it has no device_recipes()")
    ids, count = {one.id for one in VISIBLE.accelerators}, 0
    for what, model, recipes in subject.proposed():
        variants, without = offering.device_recipes(model, recipes, VISIBLE)
        exact_by_device: dict[str, list[bool]] = {}
        for one in variants:
            device = str(one.settings.get("device", ""))
            id_ = next((name for name in ids if name in device), None)
            demand(
                id_ is not None,
                f"{what}: {one.name} runs on {device!r}, but {', '.join(sorted(ids))} are visible",
            )
            demand(f"@{id_}" in one.name, f"{what}: the name {one.name} lacks the suffix @{id_}")
            demand(isinstance(subject.backend.steps(one), Step), f"{what}: {one.name} has no steps")
            exact_by_device.setdefault(device, []).append(one.exact)
        keys = [one.key for one in [*recipes, *variants]]
        duplicates = sorted({key for key in keys if keys.count(key) > 1})
        demand(not duplicates, f"{what}: more than one {', '.join(duplicates)}")
        wrong = [device for device, exact in exact_by_device.items() if sum(exact) != 1]
        demand(not wrong, f"{what}: not exactly one exact recipe on {', '.join(wrong)}")
        covered = {name for name in ids if any(name in device for device in exact_by_device)} | set(without)
        demand(ids <= covered, f"{what}: neither recipes nor a reason for {', '.join(sorted(ids - covered))}")
        count += len(variants)
    return f"{count} recipe variants for {' and '.join(sorted(ids))}"
