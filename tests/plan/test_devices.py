"""Recipes for visible accelerators."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from edgehone.backends.base import Backend, Recipe
from edgehone.backends.olive import backend as olive
from edgehone.backends.openvino import backend as openvino
from edgehone.backends.openvino import placement
from edgehone.backends.shared.visible_devices import RuntimeDevice, VisibleDevices
from edgehone.model.demo import demo_graph, demo_model
from edgehone.model.inspect import inspect
from edgehone.plan.devices import with_device_recipes
from edgehone.plan.plan import Plan, plan

CPU = RuntimeDevice("CPU", "cpu", "Some CPU")
GPU = RuntimeDevice("GPU.0", "gpu", "Arc", {"capabilities": ["FP32", "FP16", "INT8"], "kv_cache": True})
NPU = RuntimeDevice("NPU", "npu", "AI Boost", {"capabilities": ["FP16", "INT8"], "kv_cache": False})


def made(path: Path, backend: Any, *devices: RuntimeDevice) -> Plan:
    model = inspect(path)
    backends = {backend.NAME: cast(Backend, backend)}
    return with_device_recipes(
        plan(model, backends, "quick"), model, backends, {backend.NAME: VisibleDevices((CPU, *devices))}
    )


def by_name(found: Plan) -> dict[str, Recipe]:
    return {recipe.name: recipe for recipe in found.recipes}


def test_a_machine_without_accelerators_has_the_same_plan() -> None:
    model = inspect(demo_model())
    backends = {"openvino": cast(Backend, openvino)}
    plain = plan(model, backends, "quick")
    assert with_device_recipes(plain, model, backends, {"openvino": VisibleDevices((CPU,))}) == plain
    assert (
        with_device_recipes(plain, model, backends, {"openvino": VisibleDevices(reason="not installed")})
        == plain
    )


def test_every_recipe_of_a_language_model_on_the_gpu() -> None:
    found = by_name(made(demo_model(), openvino, GPU))
    plain = {name: one for name, one in found.items() if one.device is None}
    assert {f"{name}@GPU.0" for name in plain} == found.keys() - plain.keys()
    exact = found["fp16@GPU.0"]
    assert exact.exact and exact.runs_on == "openvino on GPU.0"
    assert exact.settings["inference_precision"] == "f32" and exact.settings["kv_cache"] == "f16"
    # What is built is shared: only where it runs differs.
    step = openvino.steps(exact)
    assert step.inputs["ir"] == openvino.steps(plain["fp16"]) and step.links


def test_a_language_model_on_an_npu_is_refused_with_the_reason() -> None:
    found = made(demo_model(), openvino, NPU)
    assert all(recipe.device is None for recipe in found.recipes)
    assert "fixed shapes" in found.skipped_devices["openvino on NPU"]


def test_a_graph_on_an_npu_has_fixed_shapes_and_a_fallback() -> None:
    found = by_name(made(demo_graph(), openvino, NPU))
    alone, beside = found["fp32@NPU"], found["fp32@NPU+CPU"]
    assert (alone.device, beside.device) == ("NPU", "HETERO:NPU,CPU")
    assert alone.settings["static"] and beside.settings["static"]
    # It does not compute in 32 bits: the parity check judges what it makes of them.
    assert alone.exact and "inference_precision" not in alone.settings
    assert "unsupported operators on the CPU" in beside.why


def test_a_precision_that_a_device_lacks_is_not_tried_there() -> None:
    bf16 = Recipe("openvino", "int8-bf16", settings={"inference_precision": "bf16"})
    found, _ = placement.device_recipes(inspect(demo_model()), [bf16], VisibleDevices((GPU,)))
    assert found == []


def test_graphs_by_a_provider_and_no_language_models() -> None:
    cuda = RuntimeDevice("CUDA", "gpu", "CUDAExecutionProvider")
    found = by_name(made(demo_graph(), olive, cuda))
    assert found["fp32@CUDA"].settings["device"] == "CUDA" and found["fp32@CUDA"].exact
    refused = made(demo_model(), olive, cuda)
    assert "another build" in refused.skipped_devices["olive on CUDA"]


def test_a_backend_without_device_recipes_keeps_its_recipes() -> None:
    recipe = Recipe("plain", "exact", exact=True)
    given = Plan((recipe,), {})
    backends = {"plain": cast(Backend, SimpleNamespace())}
    assert (
        with_device_recipes(given, inspect(demo_model()), backends, {"plain": VisibleDevices((GPU,))})
        == given
    )


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        (None, None),
        ("CPU", None),
        ("GPU.0", {"PERFORMANCE_HINT": "LATENCY", "KV_CACHE_PRECISION": "u8"}),
        ("AUTO:NPU,GPU", {"PERFORMANCE_HINT": "LATENCY"}),
        (
            "HETERO:NPU,CPU",
            {
                "PERFORMANCE_HINT": "LATENCY",
                "DEVICE_PROPERTIES": {
                    "CPU": {
                        "PERFORMANCE_HINT": "LATENCY",
                        "INFERENCE_NUM_THREADS": 2,
                        "KV_CACHE_PRECISION": "u8",
                    }
                },
            },
        ),
    ],
)
def test_recipe_settings_select_the_device(device: str | None, expected: dict[str, Any] | None) -> None:
    settings = {"kv_cache": "u8", **({"device": device} if device else {})}
    cpu = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": 2, "KV_CACHE_PRECISION": "u8"}
    assert placement.device_properties(settings, cpu) == (cpu if expected is None else expected)
