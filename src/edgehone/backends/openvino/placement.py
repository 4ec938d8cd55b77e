"""OpenVINO on other devices than the CPU: which recipes can go there, which operators do, and a session's properties.

A recipe on a device is built as it is for the CPU, and `place` asks the device's plugin which operators it takes. What
an NPU does not take makes the recipe fail there, with the list; "HETERO:NPU,CPU" is the same with those on the CPU.
An NPU takes fixed shapes only, so a graph is compiled anew for each shape that it is fed (`static`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from edgehone.backends.base import (
    Recipe,
    Step,
)
from edgehone.backends.openvino import ir
from edgehone.backends.sessions import (
    WorkerJob,
)
from edgehone.backends.shared.links import link_all
from edgehone.backends.shared.visible_devices import RuntimeDevice, VisibleDevices
from edgehone.core.errors import JobError
from edgehone.model.info import ModelInfo

CPU = "CPU"
_NO_LOGITS = "it takes fixed shapes only, and OpenVINO GenAI's way around that gives no logits to prove it by"
_FALLBACK = "HETERO:{device},CPU"
# What a free dimension is set to where only the operators are asked for: a batch of 1, and a length.
_BATCH, _LENGTH = 1, 128
# Settings that a device beside the CPU has too, where a recipe names them.
_NAMED = {"kv_cache": "KV_CACHE_PRECISION", "inference_precision": "INFERENCE_PRECISION_HINT"}
# They compute nothing: every device has them.
_PASSIVE = ("Constant", "Parameter", "Result")


def device_recipes(
    model: ModelInfo, recipes: Sequence[Recipe], seen: VisibleDevices
) -> tuple[list[Recipe], dict[str, str]]:
    """Each recipe on each device that was seen beside the CPU, and by device why there are none on it."""
    made: list[Recipe] = []
    without: dict[str, str] = {}
    for one in seen.accelerators:
        if model.task == "image-text-to-text":
            without[one.id] = "models that see are run on the CPU"
        elif one.kind == "npu" and model.kind != "graph":
            without[one.id] = _NO_LOGITS
        else:
            made += [placed for recipe in recipes if (placed := _on(recipe, one))]
            if one.kind == "npu":
                made += [placed for recipe in recipes if (placed := _on(recipe, one, fallback=True))]
    return made, without


def _on(recipe: Recipe, device: RuntimeDevice, *, fallback: bool = False) -> Recipe | None:
    """The recipe there; None for one that is made for a precision that the device does not compute in."""
    able = device.facts.get("capabilities", ())
    settings = {**recipe.settings, "device": _FALLBACK.format(device=device.id) if fallback else device.id}
    if (wanted := settings.get("inference_precision")) and _capability(wanted) not in able:
        if not recipe.exact:
            return None
        del settings["inference_precision"]  # the null test judges what the device makes of it
    if not device.facts.get("kv_cache"):
        settings.pop("kv_cache", None)
    if device.kind == "npu":
        settings["static"] = True
    beside = ", with the CPU for what it does not take" if fallback else ""
    return replace(
        recipe,
        name=f"{recipe.name}@{device.id}{'+CPU' if fallback else ''}",
        settings=settings,
        why=f"{recipe.why}; on {device.name or device.id}{beside}",
    )


def _capability(precision: str) -> str:
    return {"f32": "FP32", "f16": "FP16", "bf16": "BF16"}.get(precision, precision.upper())


def placed(recipe: Recipe, built: Step) -> Step:
    """The last step of a recipe: what is built, placed on the device that the recipe names, if any."""
    if recipe.device is None:
        return built
    params = {"device": recipe.device, "static": bool(recipe.settings.get("static"))}
    return Step("edgehone.backends.openvino.placement:place", params, {"ir": built}, links=True)


def place(job: WorkerJob) -> dict[str, Any]:
    """Links to the IR, and which of its operators run where (worker side).

    args: device, static. Returns `operators` by device. Raises JobError that lists what the device does not take;
    `nothing_to_gain` where of several devices one takes all.
    """
    import openvino as ov

    device = job.args["device"]
    core = ov.Core()
    model = core.read_model(job.inputs["ir"] / ir.MODEL)
    if job.args["static"]:
        model.reshape({port: fixed(port.get_partial_shape()) for port in model.inputs})
    where = core.query_model(model, device)
    working = [node for node in model.get_ops() if node.get_type_name() not in _PASSIVE]
    lacking = Counter(node.get_type_name() for node in working if node.get_friendly_name() not in where)
    if lacking:
        told = ", ".join(f"{name} ({count})" for name, count in lacking.most_common())
        raise JobError(f"{device} does not take {lacking.total()} of {len(working)} operators: {told}")
    operators = Counter(where[node.get_friendly_name()] for node in working)
    if device.startswith("HETERO:") and "," in device and len(operators) == 1:
        return {"nothing_to_gain": f"of {device} the {next(iter(operators))} alone takes every operator"}
    link_all(job.inputs["ir"], job.out)
    return {**ir.facts(job.out), "operators": dict(operators)}


def fixed(shape: Any) -> list[int]:
    """A partial shape with its free dimensions set: the first is the batch, the others are lengths."""
    sizes = [dimension.get_length() if dimension.is_static else None for dimension in shape]
    return [size if size is not None else _LENGTH if at else _BATCH for at, size in enumerate(sizes)]


def opened(settings: Mapping[str, Any], cpu: Mapping[str, Any]) -> dict[str, Any]:
    """What the device of a session's settings is opened with; `cpu` is what the CPU would be."""
    device = settings.get("device", CPU)
    hint = {"PERFORMANCE_HINT": "LATENCY"}
    if device == CPU:
        return dict(cpu)
    if ":" not in device:
        return {**hint, **{theirs: settings[ours] for ours, theirs in _NAMED.items() if ours in settings}}
    # Of several devices each has its own: the CPU's threads are nobody else's matter.
    among = device.partition(":")[2].split(",")
    return {**hint, "DEVICE_PROPERTIES": {CPU: dict(cpu)}} if CPU in among else hint
