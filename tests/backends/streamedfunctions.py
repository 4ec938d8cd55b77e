"""Functions that the tests of streamed models run in pytorch's real environment: whole models to compare with."""

from __future__ import annotations

from typing import Any

from edgehone.backends.pytorch import rounding, streamed
from edgehone.backends.pytorch import session as torch_session
from edgehone.backends.pytorch.session import TorchSession
from edgehone.backends.pytorch.streamed_session import StreamedSession
from edgehone.backends.sessions import WorkerJob
from edgehone.backends.shared.calibration import windows
from edgehone.transform.precision.assign import ANCHOR

TEXTS = ([1, 5, 9, 200, 31, 77, 5, 9], [1, 44, 3, 8, 2, 19, 300, 12], [1, 7, 7], [1, 5, 9, 200, 31, 77, 5, 9])


def scores(job: WorkerJob) -> dict[str, Any]:
    """Logits of a session that streams and of one that loads the whole model, together and one by one."""
    import numpy as np

    whole = TorchSession(job.inputs["model"], "float32")
    expected = [np.concatenate(list(whole.score(ids))) for ids in TEXTS]
    try:
        session = StreamedSession(job.inputs["model"], job.out / "spilled")
    except streamed.NotStreamable as reason:
        return {"refused": str(reason)}
    session.foresee(TEXTS)
    files = len(list((job.out / "spilled").iterdir()))
    torch_session.WHOLE_LOGITS_BYTES = 4 * session.vocabulary * 3
    found = [np.concatenate(list(session.score(ids))) for ids in TEXTS]
    again = np.concatenate(list(session.score(TEXTS[0])))
    session.close()
    return {
        "difference": max(float(np.abs(a - b).max()) for a, b in zip(expected, found, strict=True)),
        "again": float(np.abs(again - expected[0]).max()),
        "size": float(np.abs(expected[0]).max()),
        "files": files,
        "left": (job.out / "spilled").exists(),
        "ids": session.tokenize("Hello world") == whole.tokenize("Hello world"),
    }


def sensitivities(job: WorkerJob) -> dict[str, Any]:
    """Estimates and exact divergences of the whole model, with the same windows and samples as the streamed ones."""
    import torch

    torch.set_num_threads(job.threads)
    model = TorchSession(job.inputs["model"], "float32").model
    chosen = windows(job.inputs["calibration"], model.config.max_position_embeddings, 16)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    head, inputs = model.get_output_embeddings(), model.get_input_embeddings()
    layers = {
        name: one
        for name, one in model.named_modules()
        if isinstance(one, torch.nn.Linear) and one is not head
    }
    layers["tied"] = head
    assert head.weight is inputs.weight
    squares, sums = dict.fromkeys(layers, 0.0), dict[str, Any]()

    def importance(name: str) -> Any:
        def hook(module: Any, args: Any, output: Any) -> None:
            sums[name] = sums.get(name, 0) + args[0].reshape(-1, args[0].shape[-1]).square().mean(0)

        return hook

    handles = [one.register_forward_hook(importance(name)) for name, one in layers.items()]
    with torch.inference_mode():
        for ids in chosen:
            model(torch.tensor([ids]), use_cache=False)
    for handle in handles:
        handle.remove()
    deltas = {
        name: (rounding.rounded(one.weight, ANCHOR[0], ANCHOR[1], sums[name]) - one.weight).bfloat16().float()
        for name, one in layers.items()
    }

    def estimate(name: str, looked_up: bool) -> Any:
        def hook(module: Any, args: Any, output: Any) -> None:
            if not output.requires_grad:
                output.requires_grad_(True)
            change = deltas[name][args[0]] if looked_up else args[0].detach() @ deltas[name].T

            def back(gradient: Any) -> None:
                squares[name] += float((gradient * change).sum(-1).square().sum())

            output.register_hook(back)

        return hook

    for name, one in layers.items():
        one.register_forward_hook(estimate(name, False))
    inputs.register_forward_hook(estimate("tied", True))
    drawn = torch.Generator().manual_seed(0)
    for ids in chosen:
        logits = model(torch.tensor([ids]), use_cache=False).logits[0]
        tokens = torch.multinomial(logits.detach().softmax(-1), 1, generator=drawn)[:, 0]
        torch.nn.functional.cross_entropy(logits, tokens, reduction="sum").backward()
    count = sum(map(len, chosen))
    exact = {}
    for name in job.args["exact"]:
        weight = layers[name].weight
        before = weight.data
        with torch.no_grad():
            expected = [
                model(torch.tensor([ids]), use_cache=False).logits[0].log_softmax(-1) for ids in chosen
            ]
            weight.data = before + deltas[name]
            found = [model(torch.tensor([ids]), use_cache=False).logits[0].log_softmax(-1) for ids in chosen]
            weight.data = before
        pairs = zip(expected, found, strict=True)
        exact[name] = sum(float((a.exp() * (a - b)).sum()) for a, b in pairs) / count
    return {"estimated": {name: one / (2 * count) for name, one in squares.items()}, "exact": exact}
