"""Which processes a server starts before it has verified its bundles."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from edgehone.bundle.schema import CERTIFICATION, text_of
from edgehone.model.digest import digest_file
from edgehone.serve.ahead import GRAPH, LANGUAGE, TEXT, expected, unknown_files


def bundle(folder: Path, **fields: Any) -> Path:
    folder.mkdir()
    (folder / "manifest.json").write_text(text_of(fields))
    return folder


def recipe(backend: str, **settings: Any) -> dict[str, Any]:
    return {"backend": backend, "name": "x", "settings": settings}


def test_those_of_the_backend_whose_interpreter_a_variable_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEHONE_PYTHON_LLAMACPP", sys.executable)
    monkeypatch.setenv("EDGEHONE_PYTHON_OLIVE", sys.executable)
    monkeypatch.delenv("EDGEHONE_PYTHON_OPENVINO", raising=False)
    text = bundle(tmp_path / "text", kind="language", recipe=recipe("llamacpp", threads=1))
    graph = bundle(tmp_path / "graph", kind="graph", recipe=recipe("olive"))
    managed = bundle(tmp_path / "managed", kind="graph", recipe=recipe("openvino"))
    engine, words, onnx = expected([text, managed, graph])
    assert (engine.call, engine.threads, engine.python) == (LANGUAGE, 1, Path(sys.executable))
    assert (words.call, words.threads) == (TEXT, 1)
    assert (onnx.call, onnx.backend) == (GRAPH, "edgehone.backends.olive.backend")
    assert "onnxruntime" in onnx.modules and "numpy" not in engine.modules


@pytest.mark.parametrize(
    ("name", "content", "is_one"),
    [
        ("chat_template.jinja", "{{ messages }}", True),
        ("tokenizer_config.json", '{"chat_template": "{{ messages }}"}', True),
        ("tokenizer_config.json", '{"model_max_length": 512}', False),
    ],
)
def test_the_library_of_templates_is_imported_ahead_where_there_is_one(
    name: str, content: str, is_one: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEHONE_PYTHON_LLAMACPP", sys.executable)
    text = bundle(tmp_path / "text", kind="language", recipe=recipe("llamacpp"))
    (text / "tokenizer").mkdir()
    (text / "tokenizer" / name).write_text(content)
    _, words = expected([text])
    assert ("jinja2" in words.modules) is is_one


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"kind": "language", "recipe": recipe("nobody")},
        {"kind": ["language"], "recipe": recipe("llamacpp")},
        {"kind": "language", "recipe": recipe("llamacpp", threads="many")},
        {"kind": "language", "recipe": "llamacpp"},
        {"kind": "language", "recipe": {"backend": "llamacpp", "settings": 3}},
    ],
)
def test_of_damaged_bundles_there_are_none(
    fields: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEHONE_PYTHON_LLAMACPP", sys.executable)
    assert not list(expected([tmp_path / "none", bundle(tmp_path / "bundle", **fields)]))


def test_files_are_hashed_ahead_unless_their_digests_are_known(tmp_path: Path, own_home: Path) -> None:
    text = bundle(tmp_path / "text", kind="language", recipe=recipe("llamacpp"))
    (text / "artifact" / "deeper").mkdir(parents=True)
    files = [text / "artifact" / "model.gguf", text / "artifact" / "deeper" / "other"]
    for path in files:
        path.write_bytes(b"1")
    os.mkfifo(text / "artifact" / "pipe")
    assert sorted(unknown_files([text, tmp_path / "missing"])) == sorted(files)
    digest_file(files[0], own_home / "digests")
    assert list(unknown_files([text])) == files[1:]
    (text / CERTIFICATION[0]).write_text("{}")  # verified whole, whenever it is served
    assert sorted(unknown_files([text])) == sorted(files)
