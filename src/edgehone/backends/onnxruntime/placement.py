"""ONNX Runtime on other devices than the CPU: which recipes can go there, and which operators do.

A session on a device names its execution provider; what that does not take, ONNX Runtime gives to the CPU in silence.
`place` tells it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from typing import Any

from edgehone.backends.base import (
    Recipe,
    Step,
)
from edgehone.backends.onnxruntime.devices import CPU, named
from edgehone.backends.sessions import (
    WorkerJob,
)
from edgehone.backends.shared import onnx_files
from edgehone.backends.shared.links import link_all
from edgehone.backends.shared.visible_devices import VisibleDevices, on_device
from edgehone.model.info import ModelInfo


def device_recipes(
    model: ModelInfo, recipes: Sequence[Recipe], seen: VisibleDevices
) -> tuple[list[Recipe], dict[str, str]]:
    """Each recipe of a graph on each device that was seen beside the CPU, and by device why there are none on it."""
    if model.kind != "graph":
        reason = "language models need another build of ONNX Runtime GenAI there, and one of the model for it"
        return [], {one.id: reason for one in seen.accelerators}
    return [
        on_device(recipe, one, f"by {one.name or one.id}, with the CPU for what it does not take")
        for one in seen.accelerators
        for recipe in recipes
    ], {}


def placed(recipe: Recipe, built: Step) -> Step:
    """The last step of a recipe: what is built, placed on the device that the recipe names, if any."""
    if recipe.device is None:
        return built
    params = {"device": recipe.device}
    return Step("edgehone.backends.onnxruntime.placement:place", params, {"graph": built}, links=True)


def place(job: WorkerJob) -> dict[str, Any]:
    """Links to the graph, and how many of its operators, after optimisation, run by which provider (worker side).

    args: device. Returns `operators` by provider; `nothing_to_gain` where the device takes none.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before it is loaded: afterwards is too late
    import onnxruntime

    providers = named(job.args["device"])
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    path = onnx_files.find(job.inputs["graph"])
    session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    operators: Counter[str] = Counter()
    for part in session.get_provider_graph_assignment_info():
        operators[part.ep_name] += len(part.get_nodes())
    if providers[0] != CPU and not operators[providers[0]]:
        return {"nothing_to_gain": f"{providers[0]} takes none of the graph's operators"}
    link_all(job.inputs["graph"], job.out)
    return {**onnx_files.facts(path), "operators": dict(operators)}
