"""Estimate the divergence that the rounding of each matrix causes, from the gradients of the log-likelihood.

The estimate is half the sum of (gᵀ D x)² over the tokens (`sensitivity` has the derivation and the sources).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from edgehone.backends.pytorch.matrices import Matrix, Run, hooks
from edgehone.backends.pytorch.rounding import round_matrix, row_parts
from edgehone.backends.pytorch.streamed import Activations

if TYPE_CHECKING:
    from edgehone.backends.sessions import WorkerJob


def estimate(run: Run, matrices: Sequence[Matrix], job: WorkerJob) -> None:
    """Sum (gᵀ D x)² over the tokens of the text, for all matrices, block by block from the last to the first."""
    import torch

    stream, count = run.stream, len(run.stream.blocks)
    gradients = Activations.create(run.folder / "gradients.npy", run.inputs[0].values.shape)
    outer = [one for one in matrices if one.block is None]
    for one in outer:
        round_matrix(one, run.folder)
    head = [(stream.head, _note(one)) for one in outer if one.kind in ("head", "tied")]
    drawn = torch.Generator().manual_seed(0)
    with torch.enable_grad(), hooks(head):
        for window in range(len(run.windows)):
            last = run.inputs[-1][window].clone().requires_grad_(True)
            logits = stream.logits(stream.normalized(last))[0].float()
            tokens = torch.multinomial(logits.detach().softmax(-1), 1, generator=drawn)[:, 0]
            torch.nn.functional.cross_entropy(logits, tokens, reduction="sum").backward()
            gradients[window] = last.grad
    for number in reversed(range(count)):
        job.progress(0.3 + 0.4 * (count - number) / count, "sensitivity of each matrix")
        inside = [one for one in matrices if one.block == number]
        with stream.resident(number), torch.enable_grad():
            for one in inside:
                round_matrix(one, run.folder)
            with hooks([(one.module, _note(one)) for one in inside]):
                for window in range(len(run.windows)):
                    hidden = run.inputs[number][window].clone().requires_grad_(True)
                    stream.run(number, hidden).backward(gradients[window])
                    gradients[window] = hidden.grad
        for one in inside:
            one.delta = None
    looked_up = [one for one in outer if one.kind in ("embedding", "tied")]
    for window, ids in enumerate(run.windows):
        pairs = [(stream.embeddings, _note(one, torch.tensor([list(ids)]))) for one in looked_up]
        with torch.enable_grad(), hooks(pairs):
            stream.embedded(ids).backward(gradients[window])


def _note(one: Matrix, looked_up: Any = None) -> Callable[..., None]:
    """Return a hook that adds (gᵀ D x)² of each output in the backward pass; x are `looked_up` ids or the inputs."""

    def hook(module: Any, args: Any, output: Any) -> None:
        if not output.requires_grad:
            output.requires_grad_(True)
        delta, inputs = one.delta, args[0].detach()

        def back(gradient: Any) -> None:
            if looked_up is not None:
                found = (gradient * delta[looked_up].float()).sum(-1)
            else:
                found = sum(
                    (gradient[..., rows] * (inputs @ delta[rows].float().T)).sum(-1)
                    for rows in row_parts(one)
                )
            one.squares += float(found.square().sum())

        output.register_hook(back)

    return hook
