"""Measure each weight matrix's sensitivity to rounding, once on the original, for mixed precision in all backends.

Rounding a matrix W to W + D changes each output by D x. To second order, the KL divergence is ½ (gᵀ D x)², where g is
the gradient of the log-likelihood at that output, with the token sampled from the model itself: the Fisher information
is the Hessian of the KL divergence at zero (Amari; for quantization: HAWQ-V2, arXiv:1911.03852, with the Hessian's
trace, and SqueezeLLM, arXiv:2306.07629, with the Fisher information's diagonal). One backward pass per window gives g
and x of all matrices, so all are estimated in the time of a few passes, with the full D instead of a diagonal. The
interaction of errors at different tokens is neglected. A few matrices are then rounded one at a time and their exact
divergence is measured. The median ratio of exact to estimated values scales the other estimates; the rank correlation
is reported.
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
# Matrices whose exact divergence is measured, spread evenly over the ranking of the estimates.
_EXACT = 8
# Memory limit for the original's log-probabilities in that comparison.
_EXACT_BYTES = 512 << 20
# Factors applied to a group's range when searching the scale with the smallest error.
_SHRINK = tuple(1 - 0.05 * step for step in range(9))
# Smallest share of the parameters that must be measured. With less, an assignment would be mostly guesswork.
_MIN_SHARE = 0.9


@dataclass
class _Matrix:
    """A matrix being measured: `importance` is the mean square of each input, `squares` the sum of (gᵀ D x)²."""

    name: str
    kind: str
    module: Any
    importance: Any = None
    delta: Any = None
    squares: float = 0.0
    exact: float | None = None
    errors: dict[str, float] = field(default_factory=dict)


def measure(job: WorkerJob) -> dict[str, Any]:
    """Write the divergence caused by rounding each matrix alone to out/sensitivity.json (worker side).

    inputs: model, calibration. Facts: `tensors` (as `precision.assign.Weight`, with scaled estimates), `tokens`,
    `exact` (measured nats per token by name), `estimated` (unscaled estimates of the same matrices), `rank_correlation`
    (Spearman's, of both), `scale`; or `nothing_to_gain` if too few parameters are in linear layers.
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
    if known < _MIN_SHARE * whole:
        return {"nothing_to_gain": f"only {known / whole:.0%} of the parameters are in linear layers"}
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    job.progress(0.05, "activations")
    _measure_importance(model, matrices, chosen)
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
    """Return the embeddings, every linear layer and the head. Embeddings tied to the head count once."""
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


def _multiplying_layer(model: Any, one: _Matrix) -> Any:
    """Return the layer that multiplies by the matrix: the head for tied embeddings."""
    return model.get_output_embeddings() if one.kind == "tied" else one.module


@contextmanager
def _hooks(pairs: Sequence[tuple[Any, Callable[..., Any]]]) -> Iterator[None]:
    handles = [module.register_forward_hook(hook) for module, hook in pairs]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _measure_importance(model: Any, matrices: Sequence[_Matrix], chosen: Sequence[Sequence[int]]) -> None:
    """Set the mean square of each input on the text, as in llama.cpp's importance matrix; ones for a lookup."""
    import torch

    def note(one: _Matrix) -> Callable[..., None]:
        def hook(module: Any, args: Any, output: Any) -> None:
            square = args[0].reshape(-1, args[0].shape[-1]).square().mean(0)
            one.importance = square if one.importance is None else one.importance + square

        return hook

    weighed = [one for one in matrices if one.kind != "embedding"]
    with torch.inference_mode(), _hooks([(_multiplying_layer(model, one), note(one)) for one in weighed]):
        for ids in chosen:
            model(torch.tensor([list(ids)]), use_cache=False)
    for one in matrices:
        if one.importance is None:
            one.importance = torch.ones(one.module.weight.shape[1])


def _round(one: _Matrix) -> None:
    """Set the rounding error at the anchor precision, and each precision's weighted squared error relative to it."""
    import torch

    weight = one.module.weight.detach()

    def error_at(bits: int, group: int) -> tuple[Any, float]:
        delta = rounded(weight, bits, group or weight.shape[1], one.importance) - weight
        return delta, float((delta.square() * one.importance).sum())

    delta, anchor = error_at(*ANCHOR) if weight.shape[1] % ANCHOR[1] == 0 else error_at(ANCHOR[0], 0)
    one.delta = delta.to(torch.bfloat16)
    for bits in BITS:
        for group in GROUPS:
            if not group or weight.shape[1] % group == 0:
                one.errors[error_key(bits, group)] = error_at(bits, group)[1] / max(anchor, 1e-30)


def rounded(weight: Any, bits: int, group: int, importance: Any) -> Any:
    """Round a matrix to 2^bits levels over each group's range, shrunk to the factor with the smallest error.

    This backend-neutral quantizer approximates those of all frameworks. `importance` weights the columns.
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
        candidate = ((parts - low * shrink) / scale).round().clamp(0, most) * scale + low * shrink
        error = ((candidate - parts).square() * weights).sum(-1, keepdim=True)
        best = candidate if least is None else torch.where(error < least, candidate, best)
        least = error if least is None else torch.minimum(error, least)
    return best.reshape(rows, columns)


def _estimate(
    model: Any, matrices: Sequence[_Matrix], chosen: Sequence[Sequence[int]], job: WorkerJob
) -> None:
    """Sum (gᵀ D x)² over the tokens of the text, for all matrices in one backward pass per window."""
    import torch

    def note(one: _Matrix, lookup: bool) -> Callable[..., None]:
        def hook(module: Any, args: Any, output: Any) -> None:
            if not output.requires_grad:
                output.requires_grad_(True)
            delta, inputs = one.delta, args[0].detach()

            def back(gradient: Any) -> None:
                change = delta[inputs].float() if lookup else inputs @ delta.float().T
                one.squares += float((gradient * change).sum(-1).square().sum())

            output.register_hook(back)

        return hook

    pairs = [(one.module, note(one, one.kind in ("embedding", "tied"))) for one in matrices]
    pairs += [(_multiplying_layer(model, one), note(one, False)) for one in matrices if one.kind == "tied"]
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
    """Measure the exact divergence of some matrices, including the most sensitive one."""
    import torch

    order = sorted(matrices, key=lambda one: -one.squares)
    some = order[:: max(1, -(-len(order) // _EXACT))]
    with torch.inference_mode():
        original = [_log_probabilities(model, ids) for ids in chosen]
        for number, one in enumerate(some):
            job.progress(0.7 + 0.3 * number / len(some), f"rounding {one.name}")
            weights = one.module.weight.data
            one.module.weight.data = weights + one.delta.float()
            total = 0.0
            for ids, expected in zip(chosen, original, strict=True):
                found = _log_probabilities(model, ids)
                total += float((expected.exp() * (expected - found)).sum(-1).double().sum())
            one.module.weight.data = weights
            # The KL divergence is never negative; negative values are rounding errors.
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
    """Return Spearman's rank correlation of two arrays, or None for fewer than three values."""
    import numpy as np

    if len(one) < 3:
        return None
    ranks = np.array([np.argsort(np.argsort(values)) for values in (one, other)], float)
    return float(np.corrcoef(ranks)[0, 1])
