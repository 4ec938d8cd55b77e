"""Add variants of a plan's recipes for the accelerators that are visible to the runtimes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from edgehone.backends.base import Backend, Recipe
from edgehone.backends.capabilities import DeviceRecipes, capability
from edgehone.backends.shared.visible_devices import VisibleDevices
from edgehone.model.info import ModelInfo
from edgehone.plan.plan import Plan


def with_device_recipes(
    plan: Plan, model: ModelInfo, backends: Mapping[str, Backend], visible: Mapping[str, VisibleDevices]
) -> Plan:
    """Return the plan with each backend's device recipes after its other recipes.

    `skipped_devices` of the result has the reason for each visible device without recipes.
    """
    recipes: list[Recipe] = []
    skipped: dict[str, str] = {}
    for name in plan.backends:
        recipes_of_backend = [recipe for recipe in plan.recipes if recipe.backend == name]
        recipes += recipes_of_backend
        offering = capability(backends[name], DeviceRecipes)
        if offering and name in visible and visible[name].accelerators:
            variants, reasons = offering.device_recipes(model, recipes_of_backend, visible[name])
            recipes += variants
            skipped |= {f"{name} on {device}": reason for device, reason in reasons.items()}
    return replace(plan, recipes=tuple(recipes), skipped_devices=skipped)
