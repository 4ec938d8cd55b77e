"""ONNX Runtime on devices other than the CPU: recipe variants, and which provider runs which operators.

A session on a device names its execution provider; ONNX Runtime silently assigns unsupported operators to the CPU.
`place` reports the assignment.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from typing import Any

from edgehone.backends.base import Recipe, Step
from edgehone.backends.onnxruntime.devices import CPU, session_providers
from edgehone.backends.sessions import WorkerJob
from edgehone.backends.shared import onnx_files
from edgehone.backends.shared.links import link_all
from edgehone.backends.shared.visible_devices import VisibleDevices, on_device
from edgehone.model.encoder_decoder import TASKS
from edgehone.model.info import ModelInfo


def device_recipes(
    model: ModelInfo, recipes: Sequence[Recipe], visible: VisibleDevices
) -> tuple[list[Recipe], dict[str, str]]:
    """Return a variant of each graph recipe for each visible device except the CPU.

    For devices without variants, returns the reason by device id.
    """
    if model.kind != "graph":
        reason = "language models would need another build of ONNX Runtime GenAI, and of the model, for this device"
        return [], {one.id: reason for one in visible.accelerators}
    if model.task in TASKS:
        return [], {one.id: "encoder-decoders run on the CPU only" for one in visible.accelerators}
    return [
        on_device(recipe, one, f"on {one.name or one.id}, with unsupported operators on the CPU")
        for one in visible.accelerators
        for recipe in recipes
    ], {}


def placed(recipe: Recipe, build: Step) -> Step:
    """Return the recipe's last step: the build, followed by placement if the recipe names a device."""
    if recipe.device is None:
        return build
    params = {"device": recipe.device}
    return Step("edgehone.backends.onnxruntime.placement:place", params, {"graph": build}, links=True)


def place(job: WorkerJob) -> dict[str, Any]:
    """Link to the graph, and count how many of its optimized operators each provider runs (worker side).

    args: device. inputs: graph. Returns the facts of the graph and `operators` (number by provider), or
    `nothing_to_gain` if the device runs none.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # it is read on import
    import onnxruntime

    providers = session_providers(job.args["device"])
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    path = onnx_files.find(job.inputs["graph"])
    session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    operators: Counter[str] = Counter()
    for part in session.get_provider_graph_assignment_info():
        operators[part.ep_name] += len(part.get_nodes())
    if providers[0] != CPU and not operators[providers[0]]:
        return {"nothing_to_gain": f"{providers[0]} supports none of the graph's operators"}
    link_all(job.inputs["graph"], job.out)
    return {**onnx_files.facts(path), "operators": dict(operators)}
