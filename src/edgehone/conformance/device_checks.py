"""What a backend says of devices beside the CPU: recipes for them (core side), what its runtime sees (worker side)."""

from __future__ import annotations

from edgehone.backends.base import Step
from edgehone.backends.capabilities import DeviceRecipes, capability
from edgehone.backends.shared.visible_devices import RuntimeDevice, VisibleDevices
from edgehone.conformance.subject import Subject
from edgehone.worker.conformance.outcome import Skipped, demand

# Nobody's: what is made for them is looked at, not run.
MADE_UP = VisibleDevices(
    (
        RuntimeDevice("CPU", "cpu"),
        RuntimeDevice("GPU", "gpu", "a GPU", {"capabilities": ["FP32", "FP16"]}),
        RuntimeDevice("NPU", "npu", "an NPU", {"capabilities": ["FP16"]}),
    )
)


def devices_have_recipes(subject: Subject) -> str:
    """device_recipes(), if the module has it, returns variants of its recipes. Each names a visible device in its
    settings and after the @ of its name; each device has exactly one exact variant, or a reason why it has none.
    Variants are built and checked like all recipes."""
    offering = capability(subject.backend, DeviceRecipes)
    if offering is None:
        raise Skipped("it has no device_recipes()")
    ids, count = {one.id for one in MADE_UP.accelerators}, 0
    for what, model, recipes in subject.proposed():
        variants, without = offering.device_recipes(model, recipes, MADE_UP)
        there: dict[str, list[bool]] = {}
        for one in variants:
            named = str(one.settings.get("device", ""))
            own = next((name for name in ids if name in named), None)
            demand(
                own is not None, f"{what}: {one.name} runs on {named!r}; {', '.join(sorted(ids))} were seen"
            )
            demand(f"@{own}" in one.name, f"{what}: {one.name} does not tell that it runs on {own}")
            demand(isinstance(subject.backend.steps(one), Step), f"{what}: {one.name} has no steps")
            there.setdefault(named, []).append(one.exact)
        keys = [one.key for one in [*recipes, *variants]]
        double = sorted({key for key in keys if keys.count(key) > 1})
        demand(not double, f"{what}: more than one {', '.join(double)}")
        unproven = [named for named, exact in there.items() if sum(exact) != 1]
        demand(not unproven, f"{what}: not one exact recipe on {', '.join(unproven)}")
        told = {name for name in ids if any(name in named for named in there)} | set(without)
        demand(ids <= told, f"{what}: neither recipes nor a reason for {', '.join(sorted(ids - told))}")
        count += len(variants)
    return f"{count} variants of recipes on {' and '.join(sorted(ids))}"
