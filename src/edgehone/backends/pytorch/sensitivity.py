"""What rounding each weight matrix costs: measured once on the original, for every framework's mixed precision.

A matrix W rounded to W + D changes each output by D x. To second order the divergence is ½ (gᵀ D x)², g being the
gradient of the log-likelihood at that output with the token drawn from the model itself: the Fisher information is the
Hessian of KL at zero (Amari; for quantization: HAWQ-V2, arXiv:1911.03852, with the Hessian's trace, and SqueezeLLM,
arXiv:2306.07629, with the Fisher's diagonal). One backward pass for each window gives g and x of all matrices, so all
are measured in the time of a few passes, with the whole D and not its diagonal. What different tokens make of one
another's errors is left out. A few matrices are then really rounded, one at a time, and the divergence is read: their
median ratio scales the others, and the rank correlation is told.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgehone.backends.shared.calibration import LENGTH, windows
from edgehone.transform.precision.assign import ANCHOR, BITS, GROUPS, TABLE, error_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgehone.backends.sessions import (
        WorkerJob,
    )

_WINDOWS = 16
# Matrices that are really rounded one at a time, spread over the order of the estimates.
_EXACT = 8
# What the original's log-probabilities may hold while these are compared.
_EXACT_BYTES = 512 << 20
# A group's ends are drawn in by this much at most while the scale of the least error is sought.
_SHRINK = tuple(1 - 0.05 * step for step in range(9))
# A table of fewer of the parameters would spend the bytes by what it does not know.
_LEAST_SHARE = 0.9


@dataclass
class _Matrix:
    """A matrix on its way: `importance` is the mean square of each input, `squares` the sum of (gᵀ D x)²."""

    name: str
    kind: str
    module: Any
    importance: Any = None
    delta: Any = None
    squares: float = 0.0
    exact: float | None = None
    errors: dict[str, float] = field(default_factory=dict)


def measure(job: WorkerJob) -> dict[str, Any]:
    """The divergence of each matrix rounded alone → out/sensitivity.json (worker side, PyTorch).

    inputs: model, calibration. Facts: `tensors` (as `precision.assign.Weight`, the estimates scaled), `tokens`,
    `exact` (nats a token of those really rounded, by name), `estimated` (of the same), `rank_correlation`
    (Spearman's, of both), `scale`; or `nothing_to_gain` where the matrices are not in linear layers.
    """
    import torch

    from edgehone.backends.pytorch.session import TorchSession

    torch.set_num_threads(job.threads)
    session = TorchSession(job.inputs["model"], "float32")
    model = session.model
    context = getattr(model.config, "max_position_embeddings", None) or LENGTH
    chosen = windows(job.inputs["calibration"], context, _WINDOWS)
    matrices = _matrices(model)
    known, whole = (sum(one.numel() for one in many) for many in _parts(model, matrices))
    if known < _LEAST_SHARE * whole:
        return {"nothing_to_gain": f"only {known / whole:.0%} of the parameters are in linear layers"}
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    job.progress(0.05, "activations")
    _weigh(model, matrices, chosen)
    for one in matrices:
        _round(one)
    _estimate(model, matrices, chosen, job)
    tokens = sum(map(len, chosen))
    few = chosen[: max(1, _EXACT_BYTES // (4 * session.vocabulary * len(chosen[0])))]
    _compare(model, matrices, few, job)
    facts = _facts(matrices, tokens)
    (job.out / TABLE).write_text(json.dumps(facts), "utf-8")
    return facts


def _matrices(model: Any) -> list[_Matrix]:
    """Embeddings, every linear layer and the head; embeddings tied to the head count once."""
    import torch

    inputs, head = model.get_input_embeddings(), model.get_output_embeddings()
    tied = head is not None and head.weight is inputs.weight
    found = []
    for name, module in model.named_modules():
        if module is inputs:
            found.append(_Matrix(name, "tied" if tied else "embedding", module))
        elif isinstance(module, torch.nn.Linear) and not (tied and module is head):
            found.append(_Matrix(name, "head" if module is head else "linear", module))
    return found


def _parts(model: Any, matrices: Sequence[_Matrix]) -> tuple[list[Any], list[Any]]:
    return [one.module.weight for one in matrices], list(model.parameters())


def _fed(model: Any, one: _Matrix) -> Any:
    """The layer that a matrix is multiplied in: for tied embeddings the head."""
    return model.get_output_embeddings() if one.kind == "tied" else one.module


@contextmanager
def _hooks(pairs: Sequence[tuple[Any, Callable[..., Any]]]) -> Iterator[None]:
    handles = [module.register_forward_hook(hook) for module, hook in pairs]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _weigh(model: Any, matrices: Sequence[_Matrix], chosen: Sequence[Sequence[int]]) -> None:
    """The mean square of each input on the text, as llama.cpp's importance matrix has it; ones for a lookup."""
    import torch

    def note(one: _Matrix) -> Callable[..., None]:
        def hook(module: Any, args: Any, output: Any) -> None:
            square = args[0].reshape(-1, args[0].shape[-1]).square().mean(0)
            one.importance = square if one.importance is None else one.importance + square

        return hook

    weighed = [one for one in matrices if one.kind != "embedding"]
    with torch.inference_mode(), _hooks([(_fed(model, one), note(one)) for one in weighed]):
        for ids in chosen:
            model(torch.tensor([list(ids)]), use_cache=False)
    for one in matrices:
        if one.importance is None:
            one.importance = torch.ones(one.module.weight.shape[1])


def _round(one: _Matrix) -> None:
    """The error at the anchor, and by precision its weighted square as a share of the anchor's."""
    import torch

    weight = one.module.weight.detach()

    def off(bits: int, group: int) -> tuple[Any, float]:
        delta = rounded(weight, bits, group or weight.shape[1], one.importance) - weight
        return delta, float((delta.square() * one.importance).sum())

    delta, anchor = off(*ANCHOR) if weight.shape[1] % ANCHOR[1] == 0 else off(ANCHOR[0], 0)
    one.delta = delta.to(torch.bfloat16)
    for bits in BITS:
        for group in GROUPS:
            if not group or weight.shape[1] % group == 0:
                one.errors[error_key(bits, group)] = off(bits, group)[1] / max(anchor, 1e-30)


def rounded(weight: Any, bits: int, group: int, importance: Any) -> Any:
    """A matrix rounded to 2^bits levels between the ends of each group, drawn in to where the error is least.

    The neutral quantizer: what all frameworks come near to. `importance` weighs the columns.
    """
    import torch

    rows, columns = weight.shape
    parts = weight.reshape(rows, columns // group, group)
    weights = importance.reshape(1, columns // group, group)
    low = parts.amin(-1, keepdim=True).clamp(max=0)
    high = parts.amax(-1, keepdim=True).clamp(min=0)
    most = 2**bits - 1
    best, least = parts, None
    for shrink in _SHRINK:
        scale = ((high - low) * shrink / most).clamp(min=1e-12)
        made = ((parts - low * shrink) / scale).round().clamp(0, most) * scale + low * shrink
        error = ((made - parts).square() * weights).sum(-1, keepdim=True)
        best = made if least is None else torch.where(error < least, made, best)
        least = error if least is None else torch.minimum(error, least)
    return best.reshape(rows, columns)


def _estimate(
    model: Any, matrices: Sequence[_Matrix], chosen: Sequence[Sequence[int]], job: WorkerJob
) -> None:
    """Sum (gᵀ D x)² over the tokens of the text, all matrices in one backward pass for each window."""
    import torch

    def note(one: _Matrix, lookup: bool) -> Callable[..., None]:
        def hook(module: Any, args: Any, output: Any) -> None:
            if not output.requires_grad:
                output.requires_grad_(True)
            delta, given = one.delta, args[0].detach()

            def back(gradient: Any) -> None:
                change = delta[given].float() if lookup else given @ delta.float().T
                one.squares += float((gradient * change).sum(-1).square().sum())

            output.register_hook(back)

        return hook

    pairs = [(one.module, note(one, one.kind in ("embedding", "tied"))) for one in matrices]
    pairs += [(_fed(model, one), note(one, False)) for one in matrices if one.kind == "tied"]
    drawn = torch.Generator().manual_seed(0)
    with torch.enable_grad(), _hooks(pairs):
        for number, ids in enumerate(chosen):
            job.progress(0.1 + 0.6 * number / len(chosen), "sensitivity of each matrix")
            logits = model(torch.tensor([list(ids)]), use_cache=False).logits[0].float()
            tokens = torch.multinomial(logits.detach().softmax(-1), 1, generator=drawn)[:, 0]
            torch.nn.functional.cross_entropy(logits, tokens, reduction="sum").backward()


def _compare(
    model: Any, matrices: Sequence[_Matrix], chosen: Sequence[Sequence[int]], job: WorkerJob
) -> None:
    """The divergence itself of some matrices, the most sensitive among them."""
    import torch

    order = sorted(matrices, key=lambda one: -one.squares)
    some = order[:: max(1, -(-len(order) // _EXACT))]
    with torch.inference_mode():
        original = [_log_probabilities(model, ids) for ids in chosen]
        for number, one in enumerate(some):
            job.progress(0.7 + 0.3 * number / len(some), f"rounding {one.name}")
            kept = one.module.weight.data
            one.module.weight.data = kept + one.delta.float()
            total = 0.0
            for ids, expected in zip(chosen, original, strict=True):
                found = _log_probabilities(model, ids)
                total += float((expected.exp() * (expected - found)).sum(-1).double().sum())
            one.module.weight.data = kept
            # A divergence is never negative; what is left below zero is rounding.
            one.exact = max(total / sum(map(len, chosen)), 0.0)


def _log_probabilities(model: Any, ids: Sequence[int]) -> Any:
    import torch

    return model(torch.tensor([list(ids)]), use_cache=False).logits[0].float().log_softmax(-1)


def _facts(matrices: Sequence[_Matrix], tokens: int) -> dict[str, Any]:
    import numpy as np

    estimated = {one.name: one.squares / (2 * tokens) for one in matrices}
    exact = {one.name: one.exact for one in matrices if one.exact is not None}
    ratios = [value / estimated[name] for name, value in exact.items() if estimated[name] > 0]
    scale = float(np.median(ratios)) if ratios else 1.0
    both = np.array([[estimated[name], value] for name, value in exact.items()])
    tensors = [
        {
            "name": one.name,
            "rows": one.module.weight.shape[0],
            "columns": one.module.weight.shape[1],
            "kind": one.kind,
            "kl": exact.get(one.name, scale * estimated[one.name]),
            "errors": one.errors,
        }
        for one in matrices
    ]
    return {
        "tensors": tensors,
        "tokens": tokens,
        "exact": exact,
        "estimated": {name: estimated[name] for name in exact},
        "rank_correlation": rank_correlation(both[:, 0], both[:, 1]),
        "scale": scale,
    }


def rank_correlation(one: Any, other: Any) -> float | None:
    """Spearman's, of two arrays; None for fewer than three values, or where either does not vary."""
    import numpy as np

    if len(one) < 3:
        return None
    ranks = np.array([np.argsort(np.argsort(values)) for values in (one, other)], float)
    return float(np.corrcoef(ranks)[0, 1])
