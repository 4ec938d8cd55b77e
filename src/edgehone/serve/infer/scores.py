"""Which output of a graph has the scores of classes, by which its answers are more or less sure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgehone.serve.infer.served import ServedGraph

if TYPE_CHECKING:
    from numpy.typing import NDArray


def scores_of(served: ServedGraph) -> str | None:
    """Return the name of the first output that is recognized as the scores of classes; None without one.

    It is recognized as when the bundle was made (`evaluation.output_roles`), but from the outputs of the canaries.
    """
    import numpy as np

    from edgehone.evaluation.output_roles import recognize

    outputs: dict[str, NDArray[Any]] = {}
    for one in served.outputs:
        rows = [canary.answer[one.name] for canary in served.canaries]
        if len(one.shape) == 2 and len({row.shape[1:] for row in rows}) == 1:
            outputs[one.name] = np.concatenate(rows)
    task = str(served.bundle.decision.model.get("task", "graph"))
    roles = recognize(outputs, inputs=[one.name for one in served.inputs], task=task)
    return next((one.name for one in roles if one.role == "classes"), None)
