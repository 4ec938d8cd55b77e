"""Functions that the mlx tests run in the mlx backend's environment."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any
from unittest import mock

from edgehone.backends.mlx import backend, engine
from edgehone.backends.serving import EngineRequest, Produced
from edgehone.backends.sessions import WorkerJob


def probe(job: WorkerJob) -> dict[str, Any]:
    """Score and generate with one artifact."""
    import numpy as np

    ids = [int(i) for i in job.args["ids"]]
    session = backend.open_session(job.inputs["artifact"], job.args["settings"], job)
    made = session.generate(ids, 12)
    again = session.generate(ids, 12)
    stopped = session.generate(ids, 12, lambda token: token == made.ids[3])
    chunks = list(session.score(ids))
    logits = np.concatenate(list(session.score(ids + made.ids[:-1])))
    facts = {
        "chunks": [len(chunk) for chunk in chunks],
        "dtype": str(chunks[0].dtype),
        "repeatable": made.ids == again.ids,
        "ids": made.ids,
        "argmax": [int(i) for i in logits[len(ids) - 1 :].argmax(1)],
        "ordered": made.started < made.times[0] and made.times == sorted(made.times),
        "times": len(made.times),
        "stopped": stopped.ids,
        "text": session.detokenize(session.tokenize("Hello, café\n world")),
    }
    session.close()
    return facts


def compare(job: WorkerJob) -> dict[str, Any]:
    """Compare MLX's quantized kernels with the same weights as floats: mean KL and largest difference of
    log-probabilities.
    """
    import numpy as np

    logprobs = []
    for kernels in ({"kernels": "native"}, {}):
        session = backend.open_session(job.inputs["artifact"], {**job.args["settings"], **kernels}, job)
        logits = np.concatenate(list(session.score(job.args["ids"])))
        logprobs.append(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
        session.close()
    own, floats = logprobs
    kl = (np.exp(own) * (own - floats)).sum(1).mean()
    return {"kl": float(kl), "largest": float(abs(own - floats).max())}


VOCABULARY = 100
COMMON = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 4, "intermediate_size": 64,
    "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-5,
}  # fmt: skip
# Architectures by the kinds of their caches: keys and values, the last of them only (in some layers), a state.
CACHES: dict[str, dict[str, Any]] = {
    "llama": COMMON,
    "gemma3_text": {**COMMON, "head_dim": 8, "sliding_window": 8, "sliding_window_pattern": 2},
    "mamba": {
        "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 64, "state_size": 8,
        "num_hidden_layers": 2, "conv_kernel": 4, "use_bias": False, "use_conv_bias": True, "time_step_rank": 4,
    },
}  # fmt: skip
# Ids, new tokens and options. Some have no option, so that requests with and without one leave the batch.
REQUESTS: list[tuple[list[int], int, dict[str, Any]]] = [
    ([5], 30, {}),
    ([1, 2, 3], 12, {"temperature": 1.0, "seed": 3}),
    (list(range(20, 60)), 25, {"repetition_penalty": 1.3, "logprobs": True, "top_logprobs": 2}),
    ([7, 8], 5, {}),
    ([7, 8], 20, {"temperature": 0.7, "top_p": 0.9, "top_k": 20, "min_p": 0.01, "seed": 9}),
    (list(range(10, 17)), 9, {"frequency_penalty": 0.5, "presence_penalty": 0.5}),
]


def engines(job: WorkerJob) -> dict[str, Any]:
    """Answer requests alone and among others, with a small random model of each kind of cache.

    Returns for each model the answers of mlx-lm's own loop to the plain requests, of requests alone, and among others
    that come `gap` steps after each other.
    """
    import mlx.core as mx

    told: dict[str, Any] = {}
    for name, config in CACHES.items():
        module = importlib.import_module(f"mlx_lm.models.{name}")
        mx.random.seed(0)
        model = module.Model(module.ModelArgs.from_dict({"model_type": name, **config}))
        mx.eval(model.parameters())
        with mock.patch.object(engine, "open_model", return_value=(model, VOCABULARY)):
            told[name] = answers(model)
    return told


def answers(model: Any) -> dict[str, Any]:
    """Return the answers of one model."""
    import mlx.core as mx
    from mlx_lm.generate import generate_step

    plain = [
        [int(token) for token, _ in generate_step(mx.array(ids), model, max_tokens=count)]
        for ids, count, options in REQUESTS
        if not options
    ]
    alone = [answered([request], 0)[0] for request in REQUESTS]
    among = [answered(REQUESTS, gap) for gap in (0, 1, 4)]
    return {"plain": plain, "alone": alone, "among": among, "cancelled": answered(REQUESTS, 1, cancel=4)}


def answered(requests: list[Any], gap: int, cancel: int | None = None) -> list[Any]:
    """Return what an engine with 3 places gives for requests that are added every `gap` steps: ids, reason, logprobs.

    The request with the number `cancel` is cancelled after 10 steps.
    """
    made = engine.MlxEngine(Path(), {}, 3, 512)
    found: list[list[Produced]] = [[] for _ in requests]
    added = steps = 0
    while added < len(requests) or made.busy:
        while added < len(requests) and steps >= added * gap:
            ids, count, options = requests[added]
            made.add(EngineRequest(added, ids, count, options=options))
            added += 1
        if steps == 10 and cancel is not None:
            made.cancel(cancel)
        for one in made.step():
            found[one.number].append(one)
        steps += 1
    made.close()
    return [
        {
            "ids": [token for one in parts for token in one.ids],
            "reason": parts[-1].reason if parts else None,
            "logprobs": [[one.token, one.logprob, one.top] for part in parts for one in part.logprobs],
        }
        for parts in found
    ]
