"""Artifacts of several files and runtime settings: carried completely, refused by name, or named in a note."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgehone.bundle.read import read
from edgehone.bundle.schema import MANIFEST, text_of
from edgehone.conformance import tiny_gguf
from edgehone.package import registry, settings
from edgehone.package.targets.container import wheels
from edgehone.package.targets.desktop import checks
from edgehone.package.verify import verify_package
from edgehone.package.write import Order, pack
from tests.finished import list_again
from tests.package.test_desktop import program_file

DESKTOP = registry.load("desktop")
Make = Callable[..., Path]


@pytest.fixture
def made(spoiled: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Return a bundle with an artifact's files, a recipe's settings and fields of the manifest; no program is there."""
    monkeypatch.setattr(checks, "_env", lambda name, needs: None)

    def make(backend: str, files: dict[str, bytes], recipe: dict[str, Any], **fields: Any) -> Path:
        for path in (spoiled / "artifact").iterdir():
            path.unlink()
        for name, content in files.items():
            (spoiled / "artifact" / name).write_bytes(content)
        data = json.loads((spoiled / MANIFEST).read_text())
        data["recipe"] |= {"backend": backend, "name": "x", "settings": recipe}
        (spoiled / MANIFEST).write_text(text_of({**data, **fields}))
        list_again(spoiled)
        return spoiled

    return make


@pytest.fixture
def gguf(tmp_path: Path) -> bytes:
    return tiny_gguf.write(tmp_path / "tiny.gguf").read_bytes()


def test_a_draft_model_is_carried_and_used_by_llama_server(made: Make, gguf: bytes, tmp_path: Path) -> None:
    bundle = made("llamacpp", {"model.gguf": gguf, "draft.gguf": gguf}, {"draft": 3})
    packed = pack(bundle, Order(DESKTOP, tmp_path / "out", {"name": "tiny"}))
    place = tmp_path / "out" / "local" / "tiny"
    assert (place / "draft.gguf").read_bytes() == gguf
    assert "--model-draft draft.gguf --spec-type draft-simple --spec-draft-n-max 3" in (
        (place / "start.sh").read_text()
    )
    assert "FROM ./draft.gguf" not in (place / "Modelfile").read_text()
    (note,) = (one for one in packed.package.notes if "draft=3" in one)
    assert "with Ollama and LM Studio no tokens are drafted" in note
    assert verify_package(tmp_path / "out")


def test_a_llamafile_is_made_without_the_draft_model(made: Make, gguf: bytes, tmp_path: Path) -> None:
    bundle = made("llamacpp", {"model.gguf": gguf, "draft.gguf": gguf}, {"draft": 3})
    options = {"program": "llamafile", "llamafile": str(program_file(tmp_path / "llamafile"))}
    packed = pack(bundle, Order(DESKTOP, tmp_path / "out", options))
    assert [one.bundle for one in packed.package.carried] == ["artifact/model.gguf"]
    assert any("draft=3; with the llamafile no tokens are drafted" in one for one in packed.package.notes)


@pytest.mark.parametrize("name", ["android", "embedded"])
def test_a_draft_model_is_refused_by_name(name: str, made: Make, gguf: bytes) -> None:
    bundle = read(made("llamacpp", {"model.gguf": gguf, "draft.gguf": gguf}, {"draft": 3}))
    reason = registry.load(name).refuses(bundle)
    assert reason is not None and "second model that drafts tokens (draft.gguf)" in reason


def test_settings_that_a_program_lacks_are_named(made: Make, gguf: bytes) -> None:
    recipe = {"prompt_lookup": 8, "kv_cache": "q8_0", "threads": 2}
    bundle = read(made("llamacpp", {"model.gguf": gguf}, recipe))
    speed, tokens = settings.notes(bundle, (), "the runner")
    assert "prompt_lookup=8" in speed and "same ones" in speed
    assert "kv_cache=q8_0" in tokens and "may differ" in tokens and "threads" not in tokens
    (only,) = settings.notes(bundle, ("kv_cache",), "the sample")
    assert only == speed.replace("the runner", "the sample")


def test_an_encoder_decoder_is_carried_with_its_tokenizer(made: Make, tmp_path: Path) -> None:
    files = {"encoder.onnx": b"1", "decoder.onnx": b"2"}
    bundle = made("olive", files, {}, kind="graph", decoding={"start": [0], "eos": [1], "longest": 8})
    (bundle / "tokenizer").mkdir(exist_ok=True)
    (bundle / "tokenizer" / "tokenizer.json").write_text("{}")
    list_again(bundle)
    packed = pack(bundle, Order(DESKTOP, tmp_path / "out", {"name": "tiny"}))
    carried = {one.at for one in packed.package.carried}
    assert {"local/tiny/encoder.onnx", "local/tiny/decoder.onnx", "local/tiny/tokenizer.json"} <= carried
    for name in ("onnxruntime", "ovms", "triton"):
        reason = registry.load(name).refuses(read(bundle))
        assert reason is not None and "encoder-decoder in two parts" in reason


@pytest.mark.parametrize("name", ["llamacpp", "openvino"])
def test_an_image_that_sees_pictures_has_what_reads_them(name: str, made: Make) -> None:
    pictures = {"before": [1], "head": [], "tail": [], "token": "<image>", "positions": 4}
    bundle = read(made(name, {"model": b"1"}, {}, pictures=pictures))
    kind = wheels.kind_of(bundle.manifest)
    assert kind == "pictures" and wheels.check_backend(name, kind) is None
    wanted = wheels.Wanted(name, kind, "cpu", "amd64", "3.11")
    assert "pillow==" in wheels.requirements(wanted)
    plain = wheels.Wanted(name, "language", "cpu", "amd64", "3.11")
    assert "pillow==" not in wheels.requirements(plain)
    refused = wheels.check_backend("olive", kind)
    assert refused is not None and "kind pictures" in refused
