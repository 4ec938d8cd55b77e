from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from edgehone.cli import inspect
from edgehone.core.errors import ModelError
from tests.onnxfiles import FLOAT, message, model, node, value


def arguments(*words: str, as_json: bool = False) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    inspect.add_arguments(parser)
    return argparse.Namespace(**vars(parser.parse_args(words)), json=as_json)


def test_the_table_shows_the_facts_and_the_backends(
    demo_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert inspect.run(arguments(str(demo_model))) == 0
    shown = capsys.readouterr().out
    assert "LlamaForCausalLM (llama)" in shown and "apache-2.0" in shown
    assert "None" not in shown
    assert "null takes its own fake models only" in shown


def test_json_has_the_facts_and_a_reason_for_each_no(
    demo_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert inspect.run(arguments(str(demo_model), as_json=True)) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["architecture"] == "LlamaForCausalLM" and told["parameters"] > 10**6
    assert {"llamacpp", "null", "openvino", "pytorch"} <= told["backends"].keys()
    assert all(answer["ok"] or answer["reasons"] for answer in told["backends"].values())


def test_a_missing_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such model folder"):
        inspect.run(arguments(str(tmp_path / "lost")))


def test_states_of_a_recurrent_graph_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = message(
        (1, node("Add", inputs=("x", "h"), output="hn")),
        (2, "main"),
        *((11, value(name, FLOAT, "batch", 8)) for name in ("x", "h")),
        (12, value("hn", FLOAT, "batch", 8)),
    )
    (tmp_path / "m.onnx").write_bytes(model(graph))
    assert inspect.run(arguments(str(tmp_path / "m.onnx"))) == 0
    assert "hn=h, if samples are sequences" in capsys.readouterr().out
