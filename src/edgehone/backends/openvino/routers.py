"""Routers of mixture-of-experts models in OpenVINO: keep them in 16 bits, and read their choices from the graph.

NNCF compresses a router like any other matrix, down to 4 bits. Routers hold a few thousandths of the bytes and
decide to which experts each token goes, so separate recipes leave them in 16 bits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.base import Recipe
from edgehone.backends.openvino.ir import ROUTER
from edgehone.backends.openvino.session import OpenVinoSession
from edgehone.core.errors import EdgehoneError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def variants(recipes: Sequence[Recipe]) -> list[Recipe]:
    """For each 4-bit recipe at quick effort, return a variant that leaves the routers in 16 bits."""
    return [
        replace(
            recipe,
            name=f"{recipe.name}+router16",
            build={**recipe.build, "router": "float16"},
            effort="normal",
            why=f"{recipe.why}; the routers of the experts stay in 16 bits",
        )
        for recipe in recipes
        if str(recipe.build.get("mode", "")).startswith("int4") and recipe.effort == "quick"
    ]


def router_nodes(model: Any) -> list[str]:
    """Return the names of the operations that compute the routers' logits. Raises EdgehoneError if there are none."""
    names = [n.get_friendly_name() for n in model.get_ops() if n.get_type_name() == "MatMul"]
    if routers := [name for name in names if ROUTER.search(name)]:
        return routers
    raise EdgehoneError("the exported graph has no mixture-of-experts router")


class RoutingSession(OpenVinoSession):
    """A session that also reports the chosen experts (`RoutingSession` of the backend contract)."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], threads: int) -> None:
        super().__init__(folder, settings, threads)
        self._blocks: list[int] = []

    def routing(self, ids: Sequence[int]) -> dict[int, NDArray[np.int16]]:
        """Return the experts chosen for each of `ids` from an empty context, by block: [tokens, k]."""
        import numpy as np

        parts: dict[int, list[Any]] = {}
        for _ in self.score(ids):  # each chunk is a separate inference
            for block in self._blocks:
                chosen = self._request.get_tensor(f"chosen.{block}").data
                parts.setdefault(block, []).append(chosen.reshape(-1, chosen.shape[-1]).astype(np.int16))
        return {block: np.concatenate(chunks) for block, chunks in sorted(parts.items())}

    def _scorer(self) -> Any:
        if self._request is None:
            import openvino as ov

            core = ov.Core()
            model = core.read_model(self._folder / "openvino_model.xml")
            for node in model.get_ops():
                at = ROUTER.search(node.get_friendly_name())
                if node.get_type_name() == "TopK" and at:
                    (output,) = model.add_outputs(node.output(1))
                    output.get_tensor().set_names({f"chosen.{at[1]}"})
                    self._blocks.append(int(at[1]))
            if not self._blocks:
                raise EdgehoneError("the graph has no router that selects experts with TopK")
            compiled = core.compile_model(model, self._device, self._properties)
            self._request = compiled.create_infer_request()
        return self._request
