"""Clients whose packages are large and pin others: LiteLLM and KServe's own, each in an environment of the peers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgehone.execution.home import home
from tests.serve.graphs import null_graph
from tests.serve.server import Server, running

# The environment takes 0.8 GB and minutes to install.
pytestmark = [pytest.mark.whole, pytest.mark.long]
PACKAGES = ("litellm==1.110.2", "kserve==0.20.0")
LITELLM = """
import json, sys, litellm
asked = {"model": "openai/bundle", "api_base": sys.argv[1] + "/v1", "api_key": "none"}
messages = [{"role": "user", "content": "Hello"}]
whole = litellm.completion(messages=messages, max_tokens=12, **asked)
parts = litellm.completion(messages=messages, max_tokens=12, stream=True, **asked)
answer = litellm.responses(input="Hello", max_output_tokens=16, **asked)
try:
    litellm.completion(messages=messages, max_tokens=-1, **asked)
    refused = None
except litellm.BadRequestError as error:
    refused = str(error)
print(json.dumps({
    "text": whole.choices[0].message.content, "tokens": whole.usage.completion_tokens,
    "streamed": "".join(part.choices[0].delta.content or "" for part in parts),
    "response": answer.output[0].content[0].text, "refused": refused,
}))
"""
KSERVE = """
import asyncio, json, sys
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

async def main():
    client = InferenceRESTClient(RESTConfig(protocol="v2", retries=0))
    rows = np.array(json.loads(sys.argv[2]), np.float32)
    found = {}
    for kind, binary in (("json", False), ("binary", True)):
        given = InferInput("x", list(rows.shape), "FP32")
        given.set_data_from_numpy(rows, binary_data=binary)
        answer = await client.infer(sys.argv[1], InferRequest("bundle", [given]), model_name="bundle")
        found[kind] = {one.name: one.as_numpy().tolist() for one in answer.outputs}
    found["ready"] = await client.is_model_ready(sys.argv[1], "bundle")
    print(json.dumps(found))

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def peers() -> Path:
    """The Python of an environment with the clients, which is kept beside those of the backends."""
    folder = home() / "peers" / "-".join(PACKAGES).replace("==", "-")
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
        (folder / "ready").touch()
    return python


def told(python: Path, code: str, *words: str) -> dict[str, Any]:
    """What a client prints last."""
    command = [str(python), "-c", code, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_litellm_chats_and_streams(peers: Path, server: Server) -> None:
    found = told(peers, LITELLM, server.url)
    body = {"model": "bundle", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 12}
    expected = server.post("/v1/chat/completions", body).json()["choices"][0]["message"]["content"]
    assert found["text"] == found["streamed"] == expected and found["tokens"] == 12
    assert found["response"].startswith(expected)
    assert "max_tokens" in found["refused"]


def test_kserves_client_infers(peers: Path, spoiled: Path) -> None:
    rows = np.random.default_rng(5).normal(size=(3, 4)).astype(np.float32)
    with running(null_graph(spoiled)) as graph:
        found = told(peers, KSERVE, graph.url, json.dumps(rows.tolist()))
        plain = graph.infer(
            {"inputs": [{"name": "x", "datatype": "FP32", "shape": [3, 4], "data": rows.ravel().tolist()}]}
        ).json()
    scores = next(one["data"] for one in plain["outputs"] if one["name"] == "scores")
    for kind in ("json", "binary"):
        np.testing.assert_allclose(np.array(found[kind]["scores"]).ravel(), scores, rtol=1e-6)
    assert found["ready"] is True
