"""The registry: the built-in backends and anybody else's come in by the same door."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgehone.backends import registry
from edgehone.backends.null import backend as null
from edgehone.core.distributions import EntryPoint
from edgehone.core.errors import InputError, SetupError
from edgehone.model.info import ModelInfo

BUILT_IN = {"gguf", "llamacpp", "mlx", "null", "olive", "onnxruntime", "openvino", "pytorch"}


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    """A third party's module, registered as `theirs`, that has all a backend needs."""
    module = types.ModuleType("their_backend")
    for name in registry.REQUIRED:
        setattr(module, name, getattr(null, name))
    module.NAME = "theirs"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "their_backend", module)
    points = {
        **registry._registered(),
        "theirs": EntryPoint("theirs", "their_backend", "their-backend"),
        "lost": EntryPoint("lost", "no_such_module_anywhere", "their-backend"),
    }
    monkeypatch.setattr(registry, "_registered", lambda: points)
    yield module


def test_the_built_in_backends_are_registered() -> None:
    assert set(registry.names()) >= BUILT_IN
    assert registry.names() == sorted(registry.names())


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_each_backend_loads_without_its_framework(name: str) -> None:
    backend = registry.load(name)
    assert name == backend.NAME
    module = "llamacpp.original" if name == "gguf" else f"{name}.backend"
    assert registry.module_name(name) == f"edgehone.backends.{module}"
    frameworks = (
        "torch",
        "transformers",
        "openvino",
        "llama_cpp",
        "nncf",
        "optimum",
        "olive",
        "onnxruntime",
        "mlx",
        "mlx_lm",
    )
    for framework in frameworks:
        assert framework not in sys.modules


@pytest.mark.parametrize("name", sorted(BUILT_IN))
@pytest.mark.parametrize(
    ("form", "architecture", "model_type", "task"),
    [
        ("onnx", "main", "onnx", "graph"),
        ("torch-export", "ExportedProgram", "torch-export", "graph"),
        ("gguf", "llama", "llama", "text-generation"),
        ("gguf", "null", "null", "text-generation"),
        ("gguf", "bert", "bert", "feature-extraction"),
        ("huggingface", "BertModel", "bert", "feature-extraction"),
        ("huggingface", "BertForSequenceClassification", "bert", "text-classification"),
        ("huggingface", "Gemma3ForConditionalGeneration", "gemma3", "image-text-to-text"),
    ],
)
def test_each_backend_answers_for_every_format(
    name: str, form: str, architecture: str, model_type: str, task: str
) -> None:
    backend = registry.load(name)
    info = ModelInfo(Path("model"), form, architecture, model_type, task, 1, 1, {}, ())
    answer = backend.supports(info)
    if answer.ok:
        assert backend.recipes(info)
    else:
        assert answer.reasons and all(answer.reasons)


def test_an_unknown_name_raises_an_error_with_a_suggestion() -> None:
    for ask in (registry.load, registry.module_name):
        with pytest.raises(
            InputError, match="no backend is called 'openvina'; did you mean 'openvino'"
        ) as caught:
            ask("openvina")
        assert caught.value.hint == "edgehone backends"
    with pytest.raises(InputError) as caught:
        registry.load("xyzzy")
    assert "did you mean" not in caught.value.message


def test_load_all_preserves_the_order_of_names() -> None:
    assert list(registry.load_all(["openvino", "llamacpp"])) == ["openvino", "llamacpp"]
    assert list(registry.load_all()) == registry.names()
    assert registry.load_all([]) == {}
    with pytest.raises(InputError):
        registry.load_all(["openvino", "opnvino"])


def test_a_plugin_is_loaded_like_a_built_in_backend(plugin: types.ModuleType) -> None:
    assert "theirs" in registry.names()
    assert registry.load("theirs").NAME == "theirs"
    assert registry.module_name("theirs") == "their_backend"


def test_an_incomplete_plugin_is_reported(plugin: types.ModuleType) -> None:
    del plugin.steps, plugin.NEEDS
    with pytest.raises(SetupError, match=r"'theirs' \(their_backend\) lacks NEEDS, steps") as caught:
        registry.load("theirs")
    assert caught.value.hint


def test_a_plugin_that_cannot_be_imported_is_reported(plugin: types.ModuleType) -> None:
    with pytest.raises(SetupError, match=r"'lost' .* cannot be imported: No module named") as caught:
        registry.load("lost")
    assert "lost" in (caught.value.hint or "")
