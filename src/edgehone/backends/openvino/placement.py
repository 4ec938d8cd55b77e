"""OpenVINO on devices other than the CPU: recipe variants, operator placement, and session properties.

A recipe for a device is built as for the CPU; `place` then asks the device's plugin which operators it supports. On
an NPU, unsupported operators make the recipe fail with their list; the variant "HETERO:NPU,CPU" runs them on the
CPU. An NPU takes fixed shapes only, so a graph is compiled separately for each input shape (`static`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from edgehone.backends.base import Recipe, Step
from edgehone.backends.openvino import ir
from edgehone.backends.sessions import WorkerJob
from edgehone.backends.shared.links import link_all
from edgehone.backends.shared.visible_devices import RuntimeDevice, VisibleDevices
from edgehone.core.errors import JobError
from edgehone.model.encoder_decoder import TASKS
from edgehone.model.info import ModelInfo

CPU = "CPU"
_NO_LOGITS = "it takes fixed shapes only, and OpenVINO GenAI's pipeline for it returns no logits to verify"
_FALLBACK = "HETERO:{device},CPU"
# Values for free dimensions when only operator support is queried: batch size and length.
_BATCH, _LENGTH = 1, 128
# Settings of a recipe that also apply to devices other than the CPU.
_NAMED = {"kv_cache": "KV_CACHE_PRECISION", "inference_precision": "INFERENCE_PRECISION_HINT"}
# Operations without computation: every device supports them.
_PASSIVE = ("Constant", "Parameter", "Result")


def device_recipes(
    model: ModelInfo, recipes: Sequence[Recipe], visible: VisibleDevices
) -> tuple[list[Recipe], dict[str, str]]:
    """Return a variant of each recipe for each visible device except the CPU.

    For devices without variants, returns the reason by device id.
    """
    variants: list[Recipe] = []
    reasons: dict[str, str] = {}
    for one in visible.accelerators:
        if model.task == "image-text-to-text":
            reasons[one.id] = "vision-language models run on the CPU only"
        elif model.task in TASKS:
            reasons[one.id] = "encoder-decoders run on the CPU only"
        elif one.kind == "npu" and model.kind != "graph":
            reasons[one.id] = _NO_LOGITS
        else:
            variants += [variant for recipe in recipes if (variant := _variant(recipe, one))]
            if one.kind == "npu":
                variants += [
                    variant for recipe in recipes if (variant := _variant(recipe, one, fallback=True))
                ]
    return variants, reasons


def _variant(recipe: Recipe, device: RuntimeDevice, *, fallback: bool = False) -> Recipe | None:
    """Return the recipe for a device, or None if the device does not compute in the precision that the recipe sets."""
    capabilities = device.facts.get("capabilities", ())
    settings = {**recipe.settings, "device": _FALLBACK.format(device=device.id) if fallback else device.id}
    if (precision := settings.get("inference_precision")) and _capability(precision) not in capabilities:
        if not recipe.exact:
            return None
        del settings[
            "inference_precision"
        ]  # the parity check tests the precision that the device uses instead
    if not device.facts.get("kv_cache"):
        settings.pop("kv_cache", None)
    if device.kind == "npu":
        settings["static"] = True
    suffix = ", with unsupported operators on the CPU" if fallback else ""
    return replace(
        recipe,
        name=f"{recipe.name}@{device.id}{'+CPU' if fallback else ''}",
        settings=settings,
        why=f"{recipe.why}; on {device.name or device.id}{suffix}",
    )


def _capability(precision: str) -> str:
    return {"f32": "FP32", "f16": "FP16", "bf16": "BF16"}.get(precision, precision.upper())


def placed(recipe: Recipe, build: Step) -> Step:
    """Return the recipe's last step: the build, followed by placement if the recipe names a device."""
    if recipe.device is None:
        return build
    params = {"device": recipe.device, "static": bool(recipe.settings.get("static"))}
    return Step("edgehone.backends.openvino.placement:place", params, {"ir": build}, links=True)


def place(job: WorkerJob) -> dict[str, Any]:
    """Link to the IR, after checking which device runs each of its operators (worker side).

    args: device, static. inputs: ir. Returns the facts of the IR and `operators` (number by device), or
    `nothing_to_gain` if one of several devices takes every operator. Raises JobError with a list if the device does
    not support all operators.
    """
    import openvino as ov

    device = job.args["device"]
    core = ov.Core()
    model = core.read_model(job.inputs["ir"] / ir.MODEL)
    if job.args["static"]:
        model.reshape({port: fixed(port.get_partial_shape()) for port in model.inputs})
    where = core.query_model(model, device)
    working = [node for node in model.get_ops() if node.get_type_name() not in _PASSIVE]
    unsupported = Counter(node.get_type_name() for node in working if node.get_friendly_name() not in where)
    if unsupported:
        listed = ", ".join(f"{name} ({count})" for name, count in unsupported.most_common())
        raise JobError(
            f"{device} does not support {unsupported.total()} of {len(working)} operators: {listed}"
        )
    operators = Counter(where[node.get_friendly_name()] for node in working)
    if device.startswith("HETERO:") and "," in device and len(operators) == 1:
        return {"nothing_to_gain": f"of {device}, {next(iter(operators))} alone takes every operator"}
    link_all(job.inputs["ir"], job.out)
    return {**ir.facts(job.out), "operators": dict(operators)}


def fixed(shape: Any) -> list[int]:
    """Fill in the free dimensions of a partial shape: the first dimension is the batch, the others are lengths."""
    sizes = [dimension.get_length() if dimension.is_static else None for dimension in shape]
    return [size if size is not None else _LENGTH if at else _BATCH for at, size in enumerate(sizes)]


def device_properties(settings: Mapping[str, Any], cpu: Mapping[str, Any]) -> dict[str, Any]:
    """Return the properties to compile a model with on the device that the settings name.

    `cpu` holds the properties of a session on the CPU.
    """
    device = settings.get("device", CPU)
    hint = {"PERFORMANCE_HINT": "LATENCY"}
    if device == CPU:
        return dict(cpu)
    if ":" not in device:
        return {**hint, **{theirs: settings[ours] for ours, theirs in _NAMED.items() if ours in settings}}
    # Each of several devices has its own properties: threads, for instance, concern the CPU only.
    devices = device.partition(":")[2].split(",")
    return {**hint, "DEVICE_PROPERTIES": {CPU: dict(cpu)}} if CPU in devices else hint
