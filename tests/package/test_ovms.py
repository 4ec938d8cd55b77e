"""The target ovms: the layout and the configuration that the documents of OpenVINO Model Server ask for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgehone
from edgehone.backends.openvino import backend
from edgehone.bundle.schema import text_of
from edgehone.core.errors import InputError, SetupError
from edgehone.package.target import Built
from edgehone.package.targets.ovms import target
from edgehone.package.targets.ovms.documented import parse_graph, read_config
from edgehone.package.verify import verify_package
from edgehone.package.write import Order, Packed, pack
from edgehone.worker import canaries
from tests.finished import list_again
from tests.package.onnx_bundles import DIGITS, answers, ports
from tests.serve.graphs import AXES, INPUTS, OUTPUTS, as_graph

IR = ("openvino_model.xml", "openvino_model.bin")
TOKENIZER = (
    "openvino_tokenizer.xml",
    "openvino_tokenizer.bin",
    "openvino_detokenizer.xml",
    "openvino_detokenizer.bin",
)


@pytest.fixture
def without_openvino(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is installed, so files that only have the names of OpenVINO's are not opened."""
    monkeypatch.setenv("EDGEHONE_HOME", str(tmp_path / "home"))


def as_openvino(bundle: Path, settings: dict[str, Any], *files: str) -> Path:
    """Say in a bundle that OpenVINO runs it, and give it files of the names of OpenVINO's."""
    shutil.rmtree(bundle / "artifact")
    (bundle / "artifact").mkdir()
    for name in files:
        (bundle / "artifact" / name).write_text(name)
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["recipe"] |= {"backend": "openvino", "settings": settings}
    manifest["versions"] = {"openvino": {"openvino": "2026.4.1"}}
    (bundle / "manifest.json").write_text(text_of(manifest))
    list_again(bundle)
    return bundle


@pytest.fixture
def language(spoiled: Path, without_openvino: None) -> Path:
    return as_openvino(spoiled, {"kv_cache": "f16", "inference_precision": "f32"}, *IR, *TOKENIZER)


@pytest.fixture
def graph(spoiled: Path, without_openvino: None) -> Path:
    row = np.ones((1, 4), np.float32)
    canaries.write(
        spoiled / "canaries", [({"x": row}, {"scores": row[:, :3], "class": np.zeros(1, np.int64)})]
    )
    as_graph(spoiled, {"backend": "openvino", "name": "int8", "settings": {}}, INPUTS, OUTPUTS, AXES)
    return as_openvino(spoiled, {"hint": "THROUGHPUT"}, *IR, "ports.json")


def packed(bundle: Path, out: Path, **options: str) -> Packed:
    return pack(bundle, Order(target, out, options))


def test_a_language_model_has_a_graph_of_the_llm_calculator(language: Path, tmp_path: Path) -> None:
    done = packed(language, tmp_path / "package", name="tiny", cache_gb="2", max_requests="8")
    verify_package(done.path)
    assert read_config(done.path / "models" / "config.json").model_config_list[0].config.base_path == "tiny"
    message = parse_graph((done.path / "models" / "tiny" / "graph.pbtxt").read_text())
    (node,) = message.node
    assert node.calculator == "HttpLLMCalculator" and list(node.input_side_packet) == [
        "LLM_NODE_RESOURCES:llm"
    ]
    (options,) = node.node_options
    assert options.type_url.endswith("/mediapipe.LLMCalculatorOptions")
    text = (done.path / "models" / "tiny" / "graph.pbtxt").read_text()
    assert "pipeline_type: AUTO" in text and "cache_size: 2" in text and "max_num_seqs: 8" in text
    (line,) = [one for one in text.splitlines() if "plugin_config" in one]
    plugin = json.loads(json.loads(line.split(":", 1)[1]))
    assert plugin == {
        "INFERENCE_PRECISION_HINT": "f32",
        "KV_CACHE_PRECISION": "f16",
        "PERFORMANCE_HINT": "LATENCY",
    }
    assert {one.at for one in done.package.carried} == {f"models/tiny/{name}" for name in (*IR, *TOKENIZER)}
    assert {one.name: one.outcome for one in done.checks} == {
        "layout of the repository": "passed",
        "graph.pbtxt has the documented messages": "passed",
        "OpenVINO gives the proven outputs with these properties": "skipped",
        "OpenVINO Model Server answers": "skipped",
    }
    assert any("another kernel" in note for note in done.package.notes)
    assert "/v3/completions" in (done.path / "README.md").read_text()


def test_the_proven_kernel_on_another_device(language: Path, tmp_path: Path) -> None:
    done = packed(language, tmp_path / "package", batch_processing="static", acceleration="gpu")
    (text,) = (one.read_text() for one in done.path.glob("models/*/graph.pbtxt"))
    assert "pipeline_type: LM\n" in text and 'device: "GPU"' in text and "cache_size" not in text
    assert "KV_CACHE" not in text and "the quality figures hold for CPU, not for GPU" in done.package.notes
    assert not any("another kernel" in note for note in done.package.notes)


def test_one_device_for_a_language_model_and_several_for_a_graph(
    language: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    done = packed(language, tmp_path / "package", acceleration="cpu_gpu_auto")
    assert any("acceleration=cpu_gpu_auto is not met" in note for note in done.package.notes)
    graph = request.getfixturevalue("graph")
    done = packed(graph, tmp_path / "graph", acceleration="cpu_gpu_auto")
    config = read_config(done.path / "models" / "config.json").model_config_list[0].config
    assert config.target_device == "AUTO:GPU,CPU"
    assert any("not for AUTO:GPU,CPU" in note for note in done.package.notes)


def test_a_graph_is_in_the_folder_of_its_version(graph: Path, tmp_path: Path) -> None:
    done = packed(graph, tmp_path / "package", name="digits")
    config = json.loads((done.path / "models" / "config.json").read_text())
    assert config == {
        "model_config_list": [
            {
                "config": {
                    "name": "digits",
                    "base_path": "digits",
                    "target_device": "CPU",
                    "plugin_config": {"PERFORMANCE_HINT": "THROUGHPUT"},
                }
            }
        ]
    }
    assert {one.at for one in done.package.carried} == {f"models/digits/1/{name}" for name in IR}
    (done.path / "models" / "digits" / "1" / IR[1]).unlink()
    first = target.check(done.path, Built((), (), ""), tmp_path)[0]
    assert first.outcome == "failed" and first.reason == "missing: openvino_model.bin"


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("models_path", "model_path"),
        ("pipeline_type: AUTO", "pipeline_type: FAST"),
        ("true", '"true"'),
        ("sync_set", "sync"),
    ],
)
def test_an_undocumented_field_or_value_fails_the_check(
    language: Path, tmp_path: Path, right: str, wrong: str
) -> None:
    done = packed(language, tmp_path / "package")
    (path,) = done.path.glob("models/*/graph.pbtxt")
    path.write_text(path.read_text().replace(right, wrong, 1))
    check = target.check(done.path, Built((), (), ""), tmp_path)[1]
    assert check.outcome == "failed" and check.reason


def test_an_undocumented_key_of_the_configuration_is_refused(language: Path, tmp_path: Path) -> None:
    path = packed(language, tmp_path / "package").path / "models" / "config.json"
    path.write_text(path.read_text().replace("base_path", "path"))
    with pytest.raises(InputError, match="path"):
        read_config(path)


def test_refuses_what_the_server_cannot_run(spoiled: Path, tmp_path: Path) -> None:
    assert "null's" in (target.refuses(edgehone.read(spoiled)) or "")
    bundle = as_openvino(spoiled, {}, *IR)
    assert "no openvino_tokenizer.xml" in (target.refuses(edgehone.read(bundle)) or "")
    with pytest.raises(InputError, match="cache_gb of ovms is '-1'"):
        packed(as_openvino(spoiled, {}, *IR, *TOKENIZER), tmp_path / "package", cache_gb="-1")


@pytest.mark.real
@pytest.mark.long
def test_openvino_gives_the_proven_outputs_of_a_graph(
    spoiled: Path, run_worker: Callable[..., Mapping[str, Any]], tmp_path: Path
) -> None:
    recipe = next(one for one in backend.recipes(edgehone.inspect(DIGITS)) if one.exact)
    step, built = backend.steps(recipe), tmp_path / "built"
    run_worker("openvino", step.call, dict(step.params), {"model": DIGITS}, built)
    asked = answers(run_worker, "openvino", built, tmp_path)
    bundle = as_openvino(spoiled, {})
    shutil.copytree(built, bundle / "artifact", dirs_exist_ok=True)
    canaries.write(bundle / "canaries", asked)
    axes = {"inputs": {"image": 0}, "outputs": {"logits": 0}}
    as_graph(bundle, {**recipe.to_json(), "settings": dict(recipe.settings)}, *ports(DIGITS), axes)
    outcomes = {one.name: one.outcome for one in packed(bundle, tmp_path / "package").checks}
    assert list(outcomes.values()) == ["passed", "passed", "skipped"], outcomes
    question, answer = asked[0]
    canaries.write(bundle / "canaries", [(question, {"logits": answer["logits"] * np.float32(1.1)})])
    list_again(bundle)
    with pytest.raises(SetupError, match=r"does not pass OpenVINO gives .*logits differs by 0\.0"):
        packed(bundle, tmp_path / "wrong")


@pytest.mark.real
@pytest.mark.long
@pytest.mark.xdist_group("engines")
@pytest.mark.parametrize("processing", ["dynamic", "static"])
def test_openvino_genai_gives_the_proven_tokens(
    bundle_of: Callable[[str], Path], tmp_path: Path, processing: str
) -> None:
    bundle = bundle_of("openvino")
    done = packed(bundle, tmp_path / "package", batch_processing=processing)
    assert [one.outcome for one in done.checks] == ["passed", "passed", "passed", "skipped"], done.checks
    assert any(one.at.endswith("/chat_template.jinja") for one in done.package.carried)
    manifest = edgehone.read(bundle).manifest
    wrong = tuple(
        {**one, "answer": [(token + 1) % 2000 for token in one["answer"]]} for one in manifest.canaries
    )
    (bundle / "manifest.json").write_text(text_of(replace(manifest, canaries=wrong).to_json()))
    list_again(bundle)
    with pytest.raises(SetupError, match=r"0 of \d+ tokens are the proven ones"):
        packed(bundle, tmp_path / "wrong", batch_processing=processing)
