"""The plan of a run: the recipes to try, and the reasons for excluding backends, surgery and accelerators."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from edgehone.backends.base import EFFORTS, Backend, Effort, Recipe
from edgehone.backends.capabilities import AdapterBackend, capability
from edgehone.core.errors import ModelError
from edgehone.model.info import ModelInfo
from edgehone.plan import mixed, surgery


@dataclass(frozen=True)
class Plan:
    """The recipes to try, each backend's exact recipe first, and reasons for what is not tried.

    `refused`: reasons by backend. `skipped_surgery`: reasons by operation, for surgery that the effort level allows.
    `skipped_devices`: reasons by backend and visible accelerator ("openvino on NPU").
    """

    recipes: tuple[Recipe, ...]
    refused: Mapping[str, str]
    skipped_surgery: Mapping[str, str] = field(default_factory=dict)
    skipped_devices: Mapping[str, str] = field(default_factory=dict)

    @property
    def backends(self) -> list[str]:
        """The backends that have a recipe in the plan, in plan order."""
        return list(dict.fromkeys(recipe.backend for recipe in self.recipes))


def plan(
    model: ModelInfo,
    backends: Mapping[str, Backend],
    effort: Effort,
    *,
    baseline: str = "",
    most_bytes: int | None = None,
    simd: Collection[str] | None = None,
    left_out: Mapping[str, str] | None = None,
    keep_adapter: bool = False,
) -> Plan:
    """Return every recipe of every backend that supports the model, up to the effort level.

    `baseline`: the key of the original's recipe, which is measured separately. `most_bytes`: the user's limit on the
    size of an artifact, for which a mix of types is proposed at any effort. `simd`: the processor's instruction sets,
    None if they are not known; recipes that differ from others only on a processor with other ones are left out.
    `left_out`: backends that are not tried although they support the model, with the reasons. `keep_adapter`: only
    recipes that keep the model's LoRA adapter apart. Raises ModelError, with each backend's reason, if none is left.
    """
    recipes: list[Recipe] = []
    refused = {}
    skipped_surgery: dict[str, str] = {}
    for name, backend in backends.items():
        support = backend.supports(model)
        if not support.ok:
            refused[name] = "; ".join(support.reasons)
            continue
        if left_out and name in left_out:
            refused[name] = left_out[name]
            continue
        offered = _with_adapter(backend, model) if keep_adapter else backend.recipes(model)
        if not offered and keep_adapter:
            refused[name] = (
                "it does not keep an adapter apart from this model (without --keep-adapter it is merged)"
            )
            continue
        wanted = [
            recipe
            for recipe in offered
            # The exact recipe is always built, because the parity check of the backend needs it.
            if (recipe.exact or EFFORTS.index(recipe.effort) <= EFFORTS.index(effort))
            and recipe.key != baseline
            and (not recipe.processors or simd is None or set(recipe.processors) & set(simd))
        ]
        if not wanted:
            refused[name] = "it only runs the original and proposes no recipe"
        elif not any(recipe.exact for recipe in wanted):
            refused[name] = "it proposes no exact recipe, which the parity check requires"
        elif keep_adapter:
            recipes += wanted
        else:
            with_surgery, skipped = surgery.propose(model, wanted, effort)
            recipes += [*wanted, *mixed.fit_to_size(model, offered, most_bytes), *with_surgery]
            skipped_surgery |= skipped
    if not recipes:
        reasons = "".join(f"\n  {name}: {reason}" for name, reason in refused.items())
        raise ModelError(
            f"no backend supports {model.path} ({model.architecture}):{reasons}",
            hint=f"edgehone inspect {model.path}",
        )
    return Plan(tuple(recipes), refused, skipped_surgery)


def _with_adapter(backend: Backend, model: ModelInfo) -> Sequence[Recipe]:
    found = capability(backend, AdapterBackend)
    return found.adapter_recipes(model) if found else ()
