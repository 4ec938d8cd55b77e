"""Predicted memory and disk space of builds, and what would fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgehone.backends import registry
from edgehone.backends.base import Recipe
from edgehone.model.info import ModelInfo
from edgehone.model.inspect import inspect
from edgehone.plan import building
from edgehone.plan.building import Resources

PLAIN = Recipe("llamacpp", "Q4_0", bits=4.5)


def sized(demo_model: Path, parameters: int) -> ModelInfo:
    return replace(inspect(demo_model), parameters=parameters)


def test_builds_that_stream_the_model_need_memory_for_two_blocks(demo_model: Path) -> None:
    model = sized(demo_model, 8 * 10**9)
    model = replace(model, hidden_size=4096, intermediate_size=14336, layers=32, vocabulary=128256)
    tuned = replace(PLAIN, calibrated=True, operations={"gptq": 1e13})
    whole = building.memory(Recipe("openvino", "int8"), model)
    assert whole > 16e9 and building.memory(PLAIN, model) < building.memory(tuned, model) < 8e9
    assert building.memory(tuned, replace(model, layers=64)) < building.memory(tuned, model)


def test_backends_that_would_fit_are_listed(demo_model: Path) -> None:
    model = inspect(demo_model)
    needed = building.resources(model, [PLAIN, Recipe("openvino", "int8", bits=8.0)])
    assert needed.disk == sum(needed.by_backend.values())
    assert building.obstacles(needed, None, None) == []
    assert building.obstacles(needed, 10**12, 10**12) == []
    tight = building.obstacles(Resources(100, 50, {"a": 20, "b": 25, "c": 5}), 50, 30)
    assert "--backends a,c would fit" in tight[1]


def test_a_gguf_file_is_not_copied(demo_model: Path) -> None:
    size = 16 * 10**9
    file = replace(
        sized(demo_model, 8 * 10**9), format="gguf", architecture="llama", bytes=size, dtypes={"F16": 8 * 10**9},
        files=("a.gguf",),
    )  # fmt: skip
    made = {one.name: one for one in registry.load("llamacpp").recipes(file)}
    assert building.resources(file, [made["as-is"]]).disk == 0
    quantized = building.resources(file, [made["as-is"], made["Q4_0"]]).disk
    assert 4.5e9 < quantized < 7e9
    # Its blocks are run from a checkpoint in float32, which is compared with a file as large.
    one = building.resources(file, [made["as-is"], made["Q4_0+gptq"]]).disk
    both = building.resources(file, [made["as-is"], made["Q4_0+gptq"], made["Q4_K_M+gptq"]]).disk
    assert 64e9 < one < 64e9 + 2 * 7e9 and both - one < 2 * 7e9
    split = replace(file, files=("a-00001-of-00002.gguf", "a-00002-of-00002.gguf"))
    assert building.resources(split, [made["as-is"], made["Q4_0"]]).disk == quantized + size


def test_a_file_that_only_gptq_starts_from_takes_disk_once(demo_model: Path) -> None:
    model = sized(demo_model, 10**9)
    plain = Recipe("llamacpp", "Q4_0", {"type": "Q4_0"}, bits=4.5)
    refined = Recipe("llamacpp", "Q4_0+gptq", {"type": "Q4_0", "gptq": True}, bits=4.5, calibrated=True)

    def disk(*recipes: Recipe) -> int:
        return building.resources(model, recipes).disk - building.resources(model, []).disk

    converted = 2 * 10**9
    artifact = disk(plain) - converted
    assert artifact > 0
    assert disk(plain, refined) == disk(refined, plain) == converted + 2 * artifact
    assert disk(refined) == converted + 2 * artifact
    # OpenVINO's GPTQ rounds from the floats.
    own = Recipe("openvino", "int4+gptq", {"mode": "int4_sym", "gptq": True}, bits=4.5, calibrated=True)
    assert disk(own) == disk(replace(own, build={"mode": "int4_sym"}))
