"""Graphs served by real engines: the outputs of `edgehone run`, to clients that nobody here wrote."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton

import edgehone
from edgehone.backends import registry
from edgehone.backends.base import Recipe, Step
from edgehone.inference.run_bundle import infer
from edgehone.inputs.axes import Axes
from edgehone.inputs.batches import Batches
from edgehone.model.demo import demo_graph
from tests.finished import Finished
from tests.serve.graphs import as_graph
from tests.serve.server import Server, running

RunWorker = Callable[..., dict[str, Any]]
DIGITS = demo_graph()
EVALUATION = DIGITS.parent / "evaluation.npz"
pytestmark = [pytest.mark.real, pytest.mark.xdist_group("engines")]


@pytest.fixture
def bundle_of(
    run_worker: RunWorker,
    _finished: Finished,
    tmp_path: Path,
    real_home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Path]:
    """Return a bundle with a recipe's build of the digits. All but artifact and canaries is the finished bundle's."""
    monkeypatch.setenv("EDGEHONE_HOME", str(real_home))
    model = edgehone.inspect(DIGITS)

    def built(step: Step, name: str, out: Path) -> Path:
        inputs = {part: built(one, name, out / part) for part, one in step.inputs.items()}
        run_worker(name, step.call, dict(step.params), {**inputs, "model": DIGITS}, out / "built")
        return out / "built"

    def make(name: str, recipe_name: str, clients: int = 1) -> Path:
        backend = registry.load(name)
        recipe = _recipe(backend.recipes(model), recipe_name)
        artifact = built(backend.steps(recipe), name, tmp_path / "steps")
        axes = Axes({"image": 0}, {"logits": 0})
        samples = tmp_path / "samples"
        samples.mkdir()
        with np.load(EVALUATION) as given:
            Batches.arranged({"image": given["image"]}, axes).write(samples)
        asked = {"backend": registry.module_name(name), "settings": dict(recipe.settings), "batch": 1}
        inputs = {"artifact": artifact, "samples": samples}
        facts = run_worker(name, "edgehone.worker.canaries:outputs", asked, inputs, tmp_path / "answers")
        assert facts["canaries"] == 3
        bundle = Path(shutil.copytree(_finished.bundle, tmp_path / "bundle"))
        shutil.rmtree(bundle / "artifact")
        shutil.copytree(artifact, bundle / "artifact")
        shutil.copytree(tmp_path / "answers" / "canaries", bundle / "canaries")
        told = model.to_json()
        return as_graph(bundle, recipe.to_json(), told["inputs"], told["outputs"], axes.to_json(), clients)

    return make


def _recipe(recipes: Any, name: str) -> Recipe:
    found: Recipe = next(one for one in recipes if one.name == name)
    return found


@pytest.mark.parametrize(
    ("name", "recipe", "clients"),
    [
        ("onnxruntime", "original", 1),
        ("openvino", "fp32", 2),
        pytest.param("olive", "fp32", 2, marks=pytest.mark.long),
        pytest.param("openvino", "fp32", 1, marks=pytest.mark.long),
    ],
)
def test_served_outputs_are_those_of_run(
    name: str, recipe: str, clients: int, bundle_of: Callable[..., Path], tmp_path: Path
) -> None:
    bundle = bundle_of(name, recipe, clients)
    infer(edgehone.read(bundle), EVALUATION, tmp_path / "ran.npz")
    with np.load(tmp_path / "ran.npz") as file, np.load(EVALUATION) as given:
        ran, images, labels = file["logits"][:240], given["image"][:240], given["labels"][:240]
    with running(bundle) as server:
        proof = server.client.get("/readyz").json()["proofs"]["bundle"]
        assert "the canaries" in proof and "batches of up to 8 samples" in proof, proof
        served = _served(server, images)
        limit = 1e-5 * np.abs(ran).max()
        assert np.abs(served - ran).max() <= limit
        assert (served.argmax(1) == labels).mean() > 0.95
        # One after another nothing is joined, and the same runtime gives the same bits.
        alone = np.concatenate([_ask(server, images[at : at + 1]) for at in range(20)])
        assert np.abs(alone - ran[:20]).max() <= (limit if clients > 1 else 0)
        server.engine().kill()
        server.wait_until(False)
        server.wait_until(True)
        assert np.abs(_served(server, images[:40]) - ran[:40]).max() <= limit
        # What the runtime itself refuses is an error of the request.
        body = {"inputs": [{"name": "image", "datatype": "FP32", "shape": [1, 1, 8, 9], "data": [0] * 72}]}
        assert server.infer(body).status_code == 400


def test_dynamic_quantization_is_not_served_in_batches(bundle_of: Callable[..., Path]) -> None:
    with running(bundle_of("olive", "int8_dynamic")) as server:
        proof = server.client.get("/readyz").json()["proofs"]["bundle"]
        assert "requests are not batched: a sample's outputs depend on the others of its batch" in proof


def _served(server: Server, images: Any) -> Any:
    """The logits by eight clients at the same time, with requests of one, two or three samples."""
    parts = np.split(images, np.cumsum([1, 2, 3] * (len(images) // 6)))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda part: _ask(server, part), [part for part in parts if len(part)]))
    return np.concatenate(found)


def _ask(server: Server, images: Any) -> Any:
    with triton.InferenceServerClient(server.url.removeprefix("http://")) as client:
        image = triton.InferInput("image", images.shape, "FP32")
        image.set_data_from_numpy(images)
        return client.infer("bundle", [image]).as_numpy("logits")


def test_the_triton_client(bundle_of: Callable[..., Path]) -> None:
    with np.load(EVALUATION) as given:
        images = given["image"][:5]
    with (
        running(bundle_of("onnxruntime", "original")) as server,
        triton.InferenceServerClient(server.url.removeprefix("http://")) as client,
    ):
        assert client.is_server_live() and client.is_server_ready()
        assert client.is_model_ready("bundle") and client.is_model_ready("bundle", "1")
        assert client.get_server_metadata()["name"] == "edgehone"
        (port,) = client.get_model_metadata("bundle")["inputs"]
        assert port == {"name": "image", "datatype": "FP32", "shape": [-1, 1, 8, 8]}
        answers = []
        for binary_in in (True, False):
            for binary_out in (True, False):
                image = triton.InferInput("image", images.shape, "FP32")
                image.set_data_from_numpy(images, binary_data=binary_in)
                wanted = triton.InferRequestedOutput("logits", binary_data=binary_out)
                answer = client.infer("bundle", [image], outputs=[wanted], request_id="a-1")
                assert answer.get_response()["id"] == "a-1"
                answers.append(answer.as_numpy("logits"))
        for one in answers[1:]:
            np.testing.assert_array_equal(one, answers[0])
        wrong = triton.InferInput("image", [1, 4], "FP32")
        wrong.set_data_from_numpy(np.zeros((1, 4), np.float32))
        with pytest.raises(triton.InferenceServerException, match=r"the input 'image' has the shape"):
            client.infer("bundle", [wrong])
        with pytest.raises(triton.InferenceServerException, match="there is no model 'other'"):
            client.get_model_metadata("other")
        assert json.loads(server.client.get("/v2/models/bundle").text)["platform"] == "onnxruntime"
