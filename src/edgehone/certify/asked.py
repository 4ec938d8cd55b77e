"""The requests of load on a server: prompts that are all different, or the canaries of a graph."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edgehone.certify.found import Skipped
from edgehone.certify.subject import Subject
from edgehone.inputs.texts import shipped
from edgehone.serve.load.client import Answered, Client
from edgehone.serve.load.loads import Ask, windows
from edgehone.worker import canaries

TOKENS, CHARACTERS = 16, 80


@dataclass(frozen=True)
class Asked:
    """`ask` sends a request of the load, `probe` always the same one; `answer` is the content of a probe's answer.

    `secret` is in every prompt, so that a prompt that is logged is found; None for graphs.
    """

    ask: Ask
    probe: Ask
    answer: Callable[[Answered], str]
    secret: str | None


def asked_of(subject: Subject, name: str) -> Asked:
    """Return the requests to the bundle that is served as `name`."""
    return _language(name) if subject.is_language else _graph(subject, name)


def _language(name: str) -> Asked:
    secret = f"secret-{secrets.token_hex(8)}"
    prompts = windows(shipped("calibration").read_text("utf-8"), CHARACTERS)

    def body(prompt: str) -> dict[str, Any]:
        return {"model": name, "prompt": prompt, "max_tokens": TOKENS, "temperature": 0}

    async def ask(client: Client, number: int) -> Answered:
        return await client.post("/v1/completions", body(f"{next(prompts)} {secret}"))

    async def probe(client: Client, number: int) -> Answered:
        return await client.post("/v1/completions", body(f"Once upon a time {secret}"))

    return Asked(ask, probe, lambda answer: str(_json(answer)["choices"][0]["text"]), secret)


def _graph(subject: Subject, name: str) -> Asked:
    folder = subject.bundle.canaries
    if folder is None:
        raise Skipped("the bundle has no canaries, so it cannot be served")
    bodies = [_tensors(question) for question, _ in canaries.read(folder)]

    async def ask(client: Client, number: int) -> Answered:
        return await client.post(f"/v2/models/{name}/infer", bodies[number % len(bodies)])

    async def probe(client: Client, number: int) -> Answered:
        return await client.post(f"/v2/models/{name}/infer", bodies[0])

    return Asked(ask, probe, lambda answer: json.dumps(_json(answer)["outputs"]), None)


def _tensors(question: Mapping[str, Any]) -> bytes:
    types = {"float32": "FP32", "float64": "FP64", "float16": "FP16", "bool": "BOOL"}
    inputs = [
        {
            "name": name,
            "datatype": types.get(str(array.dtype), str(array.dtype).upper()),
            "shape": list(array.shape),
            "data": array.ravel().tolist(),
        }
        for name, array in question.items()
    ]
    return json.dumps({"inputs": inputs}).encode()


def _json(answer: Answered) -> Any:
    return json.loads(answer.tail)
