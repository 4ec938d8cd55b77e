"""Images for arm64, started under emulation: they answer what was proven on this machine."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest

import edgehone
from edgehone.bundle.schema import text_of
from edgehone.inference.run_bundle import generate
from edgehone.package import registry
from edgehone.package.targets.container.layout import Files, read_image
from edgehone.package.write import Order, pack
from edgehone.worker import canaries
from tests.finished import list_again
from tests.package import arm64_image
from tests.registry.servers import program
from tests.serve.conftest import bundle_of as bundle_of_text
from tests.serve.test_infer_real import bundle_of

__all__ = ["bundle_of", "bundle_of_text"]  # fixtures
pytestmark = [pytest.mark.real, pytest.mark.long, pytest.mark.xdist_group("container")]
BEGUN = "Once upon a time"


def test_an_image_of_a_graph_answers_what_was_proven(bundle_of: Callable[..., Path], tmp_path: Path) -> None:
    arm64_image.needs()
    bundle = bundle_of("onnxruntime", "original")
    options = {"name": "digits", "arch": "arm64"}
    packed = pack(bundle, Order(registry.load("container"), tmp_path / "package", options))
    with arm64_image.started(packed.path, tmp_path) as served:
        for question, answer in canaries.read(bundle / "canaries")[:2]:
            inputs = [
                {"name": name, "datatype": "FP32", "shape": list(one.shape), "data": one.ravel().tolist()}
                for name, one in question.items()
            ]
            place = f"{served.url}/v2/models/digits/infer"
            told = httpx.post(place, json={"inputs": inputs}, timeout=arm64_image.PATIENCE)
            assert told.status_code == 200, told.text
            for one in told.json()["outputs"]:
                found = np.asarray(one["data"], np.float32).reshape(one["shape"])
                # The kernels of another instruction set round in another order.
                np.testing.assert_allclose(found, answer[one["name"]], rtol=1e-4, atol=1e-4)
        assert served.end() == 0


def test_an_image_of_llama_cpp_is_compiled_and_answers_what_was_proven(
    bundle_of_text: Callable[[str], Path], tmp_path: Path
) -> None:
    arm64_image.needs()
    program("aarch64-linux-gnu-g++", "g++-aarch64-linux-gnu")
    bundle = _with_one_thread(bundle_of_text("llamacpp"))
    options = {"name": "text", "arch": "arm64"}
    packed = pack(bundle, Order(registry.load("container"), tmp_path / "package", options))
    image = read_image(packed.path / "image")
    labels = image.config["config"]["Labels"]
    assert {"asimd", "asimddp"} <= set(labels["io.edgehone.cpu"].split(","))
    assert any(name.endswith("/serve/__pycache__/server.cpython-311.pyc") for name in Files(image))
    with arm64_image.started(packed.path, tmp_path) as served:
        proof = httpx.get(f"{served.url}/readyz", timeout=60).json()["proofs"]["text"]
        # A tie between two tokens may be decided otherwise by other kernels.
        assert re.match(r"(all|1 of the) 48 tokens of the canaries", proof), proof
        here = generate(edgehone.read(bundle), BEGUN, 8, raw=True, quiet=True)["text"]
        body = {"model": "text", "prompt": BEGUN, "max_tokens": 8, "temperature": 0}
        told = httpx.post(f"{served.url}/v1/completions", json=body, timeout=arm64_image.PATIENCE)
        assert told.status_code == 200, told.text
        assert told.json()["choices"][0]["text"] == here
        assert served.end() == 0


def _with_one_thread(bundle: Path) -> Path:
    """Let the engine use one thread: those of an emulated processor wait for each other for long."""
    manifest = edgehone.read(bundle).manifest
    recipe = {**manifest.recipe, "settings": {**manifest.recipe["settings"], "threads": 1}}
    (bundle / "manifest.json").write_text(text_of(replace(manifest, recipe=recipe).to_json()))
    list_again(bundle)
    return bundle
