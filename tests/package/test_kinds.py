"""Every kind of bundle and every target: the artifact is carried completely, or refused by what it is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from edgehone.bundle.read import Bundle, read
from edgehone.bundle.schema import MANIFEST, text_of
from edgehone.conformance import tiny_gguf
from edgehone.core.errors import InputError, SetupError
from edgehone.package import registry, write
from edgehone.package.admission import settled
from edgehone.package.target import Built, Carried, Deliverable, Request
from edgehone.package.write import Order, pack, time_of
from tests.finished import list_again

IR = ("openvino_model.xml", "openvino_model.bin")
TOKENIZERS = ("openvino_tokenizer.xml", "openvino_tokenizer.bin", "openvino_detokenizer.xml")
VISION = tuple(
    f"openvino_{part}_model.{kind}"
    for part in ("language", "vision_embeddings", "text_embeddings")
    for kind in ("xml", "bin")
)
MLX = ("config.json", "tokenizer.json", "tokenizer_config.json")
PICTURES = {"before": [1], "head": [], "tail": [], "token": "<image>", "positions": 4}
DECODING = {"start": [0], "eos": [1], "longest": 8}
STATES = {"inputs": {"x": 0}, "outputs": {"y": 0}, "states": {"h": "hn"}}
SERVER = ("container", "kubernetes")  # they run `edgehone serve`, which serves every kind


@dataclass(frozen=True)
class Kind:
    """A kind of bundle: who built it, its files, the recipe's settings, and which targets take it."""

    backend: str
    files: tuple[str, ...]
    targets: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    manifest: Mapping[str, Any] = field(default_factory=dict)


KINDS = {
    "one GGUF file": Kind("llamacpp", ("model.gguf",), ("android", "desktop", "embedded")),
    "prompt lookup": Kind(
        "llamacpp", ("model.gguf",), ("android", "desktop", "embedded"), {"prompt_lookup": 8}
    ),
    "draft model": Kind("llamacpp", ("model.gguf", "draft.gguf"), ("desktop",), {"draft": 3}),
    "adapter apart": Kind("llamacpp", ("model.gguf", "adapter.gguf"), ("desktop",)),
    "pictures, llama.cpp": Kind(
        "llamacpp", ("model.gguf", "mmproj.gguf"), ("desktop",), manifest={"pictures": PICTURES}
    ),
    "hidden states, llama.cpp": Kind("llamacpp", ("model.gguf",), ("desktop",), manifest={"kind": "graph"}),
    "OpenVINO": Kind("openvino", (*IR, *TOKENIZERS), ("desktop", "ovms")),
    "prompt lookup, OpenVINO": Kind(
        "openvino", (*IR, *TOKENIZERS), ("desktop", "ovms"), {"prompt_lookup": 8}
    ),
    "pictures, OpenVINO": Kind(
        "openvino", (*VISION, *TOKENIZERS), ("desktop", "ovms"), manifest={"pictures": PICTURES}
    ),
    "T5": Kind(
        "olive", ("encoder.onnx", "decoder.onnx"), ("desktop",),
        manifest={"kind": "graph", "decoding": DECODING},
    ),
    "Whisper": Kind(
        "openvino", ("encoder.xml", "encoder.bin", "decoder.xml", "decoder.bin"), ("desktop",),
        manifest={"kind": "graph", "decoding": DECODING},
    ),
    "graph with a state": Kind(
        "onnxruntime", ("model.onnx",), ("desktop",), manifest={"kind": "graph", "axes": STATES}
    ),
    "graph with a state, OpenVINO": Kind(
        "openvino", IR, ("desktop",), manifest={"kind": "graph", "axes": STATES}
    ),
    "ONNX Runtime GenAI": Kind(
        "olive", ("model.onnx", "model.onnx.data", "genai_config.json"), ("desktop", "onnxruntime")
    ),
    "MLX in two files": Kind(
        "mlx", (*MLX, "model-1.safetensors", "model-2.safetensors"), ("desktop", "ios")
    ),
}  # fmt: skip
# A graph whose requests are answered in one run is in the tests of its targets, which convert it or ask it.
LIGHT = ("android", "desktop", "ios", "onnxruntime", "ovms")


@pytest.fixture
def made(spoiled: Path, request: pytest.FixtureRequest) -> tuple[Bundle, Kind]:
    kind = KINDS[request.param]
    shutil.rmtree(spoiled / "artifact")
    (spoiled / "artifact").mkdir()
    gguf = tiny_gguf.write(spoiled / "tiny.gguf").read_bytes()
    (spoiled / "tiny.gguf").unlink()
    for name in kind.files:
        (spoiled / "artifact" / name).write_bytes(gguf if name.endswith(".gguf") else b"{}")
    (spoiled / "canaries").mkdir(exist_ok=True)
    (spoiled / "canaries" / "samples.npz").write_bytes(b"1")
    data = json.loads((spoiled / MANIFEST).read_text())
    data["recipe"] |= {"backend": kind.backend, "name": "x", "settings": dict(kind.settings)}
    data["canaries"] = [{"prompt": [1, 2], "answer": [3]}]
    (spoiled / MANIFEST).write_text(text_of({**data, **kind.manifest}))
    list_again(spoiled)
    return read(spoiled), kind


@pytest.mark.parametrize("made", KINDS, indirect=True)
def test_a_target_takes_or_refuses_a_kind(made: tuple[Bundle, Kind], tmp_path: Path) -> None:
    bundle, kind = made
    reasons = {name: registry.load(name).refuses(bundle) for name in registry.names()}
    takes = [name for name, reason in reasons.items() if reason is None]
    assert sorted(takes) == sorted((*kind.targets, *_serving(bundle)))
    for name in kind.targets:
        if name not in LIGHT:  # it compiles first; `pack` refuses a part of an artifact of any target
            continue
        target, folder = registry.load(name), tmp_path / name
        (folder / "staged").mkdir(parents=True)
        options = settled(target.OPTIONS, {}, name)
        built = target.build(
            Request(bundle, options, time_of(bundle), folder, lambda text: None), folder / "staged"
        )
        assert {f"artifact/{one}" for one in kind.files} <= {one.bundle for one in built.carried}
        told = " ".join(built.notes)
        assert all(f"{one}={value}" in told for one, value in kind.settings.items()), built.notes
    for name, reason in reasons.items():
        if reason is not None:
            with pytest.raises(InputError) as refused:
                write._admitted(bundle.path, Order(registry.load(name), tmp_path / "out", {}))
            hint = str(refused.value.hint)
            assert reason in refused.value.message
            assert set(hint.rpartition(" --for ")[2].split("|")) == set(takes)


def _serving(bundle: Bundle) -> tuple[str, ...]:
    """Return the targets that run the server; no image has MLX."""
    return ("kubernetes",) if bundle.manifest.recipe["backend"] == "mlx" else SERVER


@pytest.mark.parametrize("made", ["draft model"], indirect=True)
def test_a_target_that_carries_a_part_of_the_artifact_is_stopped(
    made: tuple[Bundle, Kind], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, _ = made
    target = registry.load("desktop")

    def build(request: Request, folder: Path) -> Built:
        shutil.copyfile(bundle.artifact / "model.gguf", folder / "model.gguf")
        carried = (Carried("artifact/model.gguf", "model.gguf"),)
        return Built((Deliverable("model.gguf", "model"),), carried, "")

    monkeypatch.setattr(target, "build", build)
    with pytest.raises(SetupError, match=r"desktop leaves out artifact/draft.gguf") as stopped:
        pack(bundle.path, Order(target, tmp_path / "out", {}, unapproved=True))
    assert "--for container|kubernetes" in str(stopped.value.hint)
    assert not (tmp_path / "out").exists()
