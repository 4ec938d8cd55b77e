"""Graphs in the olive backend: supported models and recipes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from edgehone.backends.base import EFFORTS, Recipe, Step
from edgehone.backends.olive import graph
from edgehone.model.info import ModelInfo
from tests.backends.olive.olivegraphs import BUILD, ENCODER, TRANSFORMER
from tests.models import DIGITS as GRAPH

MODELS = {
    "convolutions": GRAPH,
    "transformer": TRANSFORMER,
    "encoder": ENCODER,
    "trees": replace(GRAPH, operators=("Relu", "ai.onnx.ml::TreeEnsembleClassifier")),
}


def quick(model: ModelInfo) -> list[Recipe]:
    return [recipe for recipe in graph.graph_recipes(model) if recipe.effort == "quick"]


def first_step(step: Step) -> Step:
    return first_step(step.inputs["graph"]) if "graph" in step.inputs else step


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_graphs_are_supported_without_notes(model: ModelInfo) -> None:
    support = graph.supports_graph(model)
    assert support.ok and support.reasons == ()


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (replace(GRAPH, format="torch-export", remote_code=True), "pickles or code"),
        (replace(GRAPH, format="torch-export", quantized="qdq"), "qdq"),
        (replace(GRAPH, operators=("my.operators::Frobnicate",)), "my.operators::Frobnicate"),
        (replace(ENCODER, model_type="unheard_of"), "unheard_of"),
        (replace(ENCODER, task="fill-mask"), "fill-mask"),
        (replace(ENCODER, remote_code=True), "custom code"),
        (replace(ENCODER, quantized="gptq"), "gptq"),
    ],
)
def test_an_unsupported_model_is_refused_with_the_offending_value(model: ModelInfo, reason: str) -> None:
    support = graph.supports_graph(model)
    assert not support.ok
    assert reason in " ".join(support.reasons)


def test_an_old_opset_is_lifted_for_the_recipes_that_need_a_newer_one() -> None:
    lifted = {recipe.name: "lift" in recipe.build for recipe in graph.graph_recipes(replace(GRAPH, opset=11))}
    assert lifted.keys() == {recipe.name for recipe in graph.graph_recipes(GRAPH)}
    assert lifted["int8_static"] and not lifted["fp32"] and not lifted["int8_static_tensor"]
    assert not any("lift" in recipe.build for recipe in graph.graph_recipes(GRAPH))
    oldest = replace(GRAPH, opset=7)
    assert graph.supports_graph(oldest).ok
    to = {recipe.name: recipe.build.get("lift") for recipe in graph.graph_recipes(oldest)}
    assert all(recipe.calibrated for recipe in graph.graph_recipes(oldest) if "lift" in recipe.build)
    assert to["fp32"] is None and to["int8_static"] == 13 and to["int8_static_tensor"] == 11


def test_a_classifier_with_a_softmax_is_no_transformer() -> None:
    plain = replace(GRAPH, operators=("Conv", "MatMul", "Softmax"))
    assert "int8_static" in {recipe.name for recipe in graph.graph_recipes(plain)}


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_the_exact_recipe_comes_first_and_the_others_differ(model: ModelInfo) -> None:
    recipes = graph.graph_recipes(model)
    assert (
        recipes[0].exact
        and [recipe.exact for recipe in recipes].count(True) == 1
        and recipes[0].build["passes"] == []
    )
    assert len({recipe.name for recipe in recipes}) == len(recipes)
    assert len({json.dumps(recipe.to_json() | {"name": ""}) for recipe in recipes}) == len(recipes)
    assert all(
        recipe.why and recipe.build["graph"] is True and recipe.effort in EFFORTS for recipe in recipes
    )
    assert len(quick(model)) <= 4


def test_recipes_match_the_graphs_operators() -> None:
    names = {what: {recipe.name for recipe in graph.graph_recipes(model)} for what, model in MODELS.items()}
    assert {"int8_static", "int8_dynamic", "int8_dynamic_conv"} <= names["convolutions"]
    assert not names["convolutions"] & {"fp32_fused", "int4_rtn", "int8_static_matmul"}
    assert (
        {"fp32_fused", "int8_static_matmul", "int8_dynamic+fused", "int4_rtn"}
        <= names["transformer"]
        == names["encoder"]
    )
    assert not names["trees"] & {"int8_dynamic", "int8_dynamic_conv", "int4_rtn"}


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_only_calibrated_recipes_read_samples_and_all_share_the_prepared_graph(model: ModelInfo) -> None:
    sources = set()
    for recipe in graph.graph_recipes(model):
        step = graph.graph_steps(recipe)
        reads, at = set(step.reads), step
        while "graph" in at.inputs:
            at = at.inputs["graph"]
            reads |= set(at.reads)
        assert ("calibration" in reads) == recipe.calibrated
        assert at.call == f"{BUILD}:prepare" and at.reads == ("model",)
        sources.add(json.dumps(dict(at.params)))
    assert len(sources) == 1


def test_an_encoder_is_exported_with_its_tokenizers_inputs() -> None:
    first = first_step(graph.graph_steps(graph.graph_recipes(ENCODER)[0]))
    assert first.params == {
        "format": "huggingface",
        "task": "feature-extraction",
        "inputs": ["input_ids", "token_type_ids", "attention_mask"],
        "output": "last_hidden_state",
    }
