"""Vectors of texts, served by real engines: those of the original, to the openai package."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest

import edgehone
from edgehone.backends import registry
from edgehone.bundle.schema import text_of
from edgehone.inputs import axes
from edgehone.model.embedding import read_embedding
from tests.finished import Finished
from tests.serve.graphs import as_graph
from tests.serve.server import Server, running

RunWorker = Callable[..., dict[str, Any]]
TEXTS = [
    f"{one} of {other}, {count} times"
    for one in ("The union", "a treaty", "Peace", "An army")
    for other in ("Mexico", "our citizens", "the Treasury")
    for count in ("3", "two hundred and seventy-one")
]
MODULES = ("Transformer", "Pooling", "Normalize")
pytestmark = [pytest.mark.real, pytest.mark.xdist_group("engines")]


@pytest.fixture
def encoder(tiny_encoders: dict[str, Path], tmp_path: Path) -> Path:
    """A folder of sentence-transformers."""
    folder = Path(shutil.copytree(tiny_encoders["feature-extraction"], tmp_path / "encoder"))
    modules = [
        {"path": "" if at == 0 else f"{at}_{one}", "type": f"a.{one}"} for at, one in enumerate(MODULES)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    return folder


@pytest.fixture
def served(
    encoder: Path, run_worker: RunWorker, _finished: Finished, tmp_path: Path, real_home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[str], tuple[Path, Any]]:  # fmt: skip
    """Return a bundle of a backend's exact build, and the original's mean hidden states of TEXTS."""
    monkeypatch.setenv("EDGEHONE_HOME", str(real_home))
    model = edgehone.inspect(encoder)
    found = axes.find(model.inputs, model.outputs).to_json()

    def work(
        name: str, call: str, args: dict[str, Any], inputs: dict[str, Path], out: str
    ) -> tuple[Path, Any]:
        args = {"backend": registry.module_name(name), **args}
        facts = run_worker(name, call, args, inputs, tmp_path / out)
        return tmp_path / out, facts

    def make(name: str) -> tuple[Path, Any]:
        texts = tmp_path / "texts.txt"
        texts.write_text("\n".join([*TEXTS, *TEXTS[:8]]))
        other = tmp_path / "other.txt"
        other.write_text("\n".join(f"Article {number}." for number in range(9)))
        told = {
            "inputs": model.to_json()["inputs"],
            "axes": found,
            "task": model.task,
            "most": 999,
            "needed": 8,
            "digests": {},
        }
        inputs = {"model": encoder, "evaluation": texts, "calibration": other}
        prepared, facts = work("pytorch", "edgehone.worker.prepare_graph:prepare", told, inputs, "prepared")
        assert facts["portable"]
        samples = prepared / "evaluation"
        original, _ = work(
            "pytorch", "edgehone.worker.score_graph:outputs", {"settings": {}, "batch": 1},
            {"artifact": encoder, "samples": samples}, "original",
        )  # fmt: skip
        backend = registry.load(name)
        recipe = next(one for one in backend.recipes(model) if one.exact)
        step = backend.steps(recipe)
        artifact, _ = work(name, step.call, dict(step.params), {"model": encoder}, "artifact")
        asked = {"settings": dict(recipe.settings), "batch": 1}
        answers, _ = work(
            name,
            "edgehone.worker.canaries:outputs",
            asked,
            {"artifact": artifact, "samples": samples},
            "answers",
        )
        bundle = Path(shutil.copytree(_finished.bundle, tmp_path / "bundle"))
        for part, source in (
            ("artifact", artifact),
            ("tokenizer", prepared / "tokenizer"),
            ("canaries", answers / "canaries"),
        ):
            shutil.rmtree(bundle / part, ignore_errors=True)
            shutil.copytree(source, bundle / part)
        data = model.to_json()
        as_graph(bundle, recipe.to_json(), data["inputs"], data["outputs"], found)
        manifest = json.loads((bundle / "manifest.json").read_text())
        more = {"embedding": read_embedding(encoder), "tokenizer": "original", "digest": ""}
        (bundle / "manifest.json").write_text(text_of({**manifest, **more}))
        as_graph(bundle, recipe.to_json(), data["inputs"], data["outputs"], found)
        return bundle, np.load(original / "0.npy")[: len(TEXTS)]

    return make


@pytest.mark.parametrize(
    "name",
    [
        "openvino",
        pytest.param("olive", marks=pytest.mark.long),
        pytest.param("llamacpp", marks=pytest.mark.long),
    ],
)
def test_vectors_are_those_of_the_original(name: str, served: Callable[[str], tuple[Path, Any]]) -> None:
    bundle, means = served(name)
    expected = means / np.linalg.norm(means, axis=1, keepdims=True)
    with running(bundle) as server, openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        answer = client.embeddings.create(model="bundle", input=TEXTS)
        found = np.array([one.embedding for one in answer.data])
        assert [one.index for one in answer.data] == [*range(len(TEXTS))]
        assert np.abs(found - expected).max() < 2e-4
        assert answer.usage.prompt_tokens == answer.usage.total_tokens > 5 * len(TEXTS)
        assert server.metric("edgehone_tenant_requests_total") == 1
        assert server.metric("edgehone_tenant_tokens_total") == answer.usage.total_tokens
        assert server.metric("edgehone_tenant_engine_seconds_total") > 0
        numbers = client.embeddings.create(model="bundle", input=TEXTS[0], encoding_format="float")
        np.testing.assert_allclose(numbers.data[0].embedding, found[0], atol=1e-6)
        _refusals(server)


def _refusals(server: Server) -> None:
    def told(**body: Any) -> str:
        answer = server.post("/v1/embeddings", {"model": "bundle", **body})
        assert answer.status_code == 400, answer.text
        message: str = answer.json()["error"]["message"]
        return message

    assert "input is empty" in told(input="") and "input is empty" in told(input=["a", ""])
    assert "mixture" in told(input=["a", [1]])
    assert "tokens; at most 128 fit" in told(input="word " * 200)
    assert "dimensions is not supported" in told(input="a", dimensions=8)
    assert "at most 256" in told(input=["a"] * 257)
    assert "encoding_format" in told(input="a", encoding_format="int8")
    ids = server.post(
        "/v1/embeddings", {"model": "bundle", "input": [2, 5, 3], "encoding_format": "base64"}
    ).json()
    assert len(base64.b64decode(ids["data"][0]["embedding"])) == 4 * 64
