"""Variants of a plan's recipes on the accelerators that the runtimes see here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from edgehone.backends.base import Backend, Recipe
from edgehone.backends.capabilities import DeviceRecipes, capability
from edgehone.backends.shared.visible_devices import VisibleDevices
from edgehone.model.info import ModelInfo
from edgehone.plan.plan import Plan


def on_devices(
    made: Plan, model: ModelInfo, backends: Mapping[str, Backend], seen: Mapping[str, VisibleDevices]
) -> Plan:
    """The plan with each backend's variants behind its own recipes; `unplaced` tells why there are none on a device."""
    recipes: list[Recipe] = []
    unplaced: dict[str, str] = {}
    for name in made.backends:
        own = [recipe for recipe in made.recipes if recipe.backend == name]
        recipes += own
        offering = capability(backends[name], DeviceRecipes)
        if offering and name in seen and seen[name].accelerators:
            variants, without = offering.device_recipes(model, own, seen[name])
            recipes += variants
            unplaced |= {f"{name} on {device}": reason for device, reason in without.items()}
    return replace(made, recipes=tuple(recipes), unplaced=unplaced)
