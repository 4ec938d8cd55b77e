"""Measure each weight matrix's sensitivity to rounding, once on the original, for mixed precision in all backends.

Rounding a matrix W to W + D changes each output by D x. To second order, the KL divergence is ½ (gᵀ D x)², where g is
the gradient of the log-likelihood at that output, with the token sampled from the model itself: the Fisher information
is the Hessian of the KL divergence at zero (Amari; for quantization: HAWQ-V2, arXiv:1911.03852, with the Hessian's
trace, and SqueezeLLM, arXiv:2306.07629, with the Fisher information's diagonal). One backward pass per window gives g
and x of all matrices, so all are estimated in the time of a few passes, with the full D instead of a diagonal. The
interaction of errors at different tokens is neglected. A few matrices are then rounded one at a time and their exact
divergence is measured. The median ratio of exact to estimated values scales the other estimates; the rank correlation
is reported.

The model is run block by block (`streamed`): forwards with each block's inputs kept in a file, backwards with the
gradients of one block's outputs, and forwards again for the few, each from its own block on.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.pytorch import streamed
from edgehone.backends.pytorch.streamed import Activations, LayerStream, NotStreamable
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
# Float32 log-probabilities of the windows in that comparison, which limit their number.
_EXACT_BYTES = 512 << 20
# Weights that are rounded at a time; each takes about 40 bytes meanwhile.
_CHUNK = 1 << 24
# Factors applied to a group's range when searching the scale with the smallest error.
_SHRINK = tuple(1 - 0.05 * step for step in range(9))
# Smallest share of the parameters that must be measured. With less, an assignment would be mostly guesswork.
_MIN_SHARE = 0.9


@dataclass
class _Matrix:
    """A matrix being measured: `importance` is the mean square of each input, `squares` the sum of (gᵀ D x)².

    `block` is the number of its block, None for the embeddings and the head. `delta` is D while it is needed.
    """

    name: str
    kind: str
    module: Any
    block: int | None
    shape: tuple[int, int]
    importance: Any = None
    delta: Any = None
    squares: float = 0.0
    exact: float | None = None
    errors: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _Run:
    """The streamed model, the windows, and each block's inputs; the last entry holds the last block's outputs."""

    stream: LayerStream
    windows: Sequence[Sequence[int]]
    inputs: Sequence[Activations]
    folder: Path


def measure(job: WorkerJob) -> dict[str, Any]:
    """Write the divergence caused by rounding each matrix alone to out/sensitivity.json (worker side).

    inputs: model, calibration. Facts: `tensors` (as `precision.assign.Weight`, with scaled estimates), `tokens`,
    `exact` (measured nats per token by name), `estimated` (unscaled estimates of the same matrices), `rank_correlation`
    (Spearman's, of both), `scale`; or `nothing_to_gain` if too few parameters are in linear layers, or if the model's
    blocks cannot be run one after another.
    """
    import torch

    torch.set_num_threads(job.threads)
    try:
        stream = streamed.open_stream(job.inputs["model"])
        context = getattr(stream.model.config, "max_position_embeddings", None) or LENGTH
        chosen = windows(job.inputs["calibration"], context, _WINDOWS)
        matrices = _matrices(stream)
        known, whole = (sum(one.numel() for one in many) for many in _parts(stream.model, matrices))
        if known < _MIN_SHARE * whole:
            return {"nothing_to_gain": f"only {known / whole:.0%} of the parameters are in linear layers"}
        folder = job.out / ".activations"
        run = _forward(stream, chosen, matrices, folder, job)
    except NotStreamable as reason:
        return {"nothing_to_gain": f"the model cannot be run block by block: {reason}"}
    _estimate(run, matrices, job)
    few = max(1, _EXACT_BYTES // (4 * matrices[0].shape[0] * len(chosen[0])))
    _compare(run, matrices, min(few, len(chosen)), job)
    shutil.rmtree(folder)
    facts = _facts(matrices, sum(map(len, chosen)))
    (job.out / TABLE).write_text(json.dumps(facts), "utf-8")
    return facts


def _matrices(stream: LayerStream) -> list[_Matrix]:
    """Return the embeddings, every linear layer and the head. Embeddings tied to the head count once."""
    import torch

    inputs, head = stream.embeddings, stream.head
    tied = head is not None and head.weight is inputs.weight
    places = {id(module): at for at, block in enumerate(stream.blocks) for module in block.modules()}
    found = []
    for name, module in stream.model.named_modules():
        if module is inputs:
            kind = "tied" if tied else "embedding"
        elif isinstance(module, torch.nn.Linear) and not (tied and module is head):
            kind = "head" if module is head else "linear"
        else:
            continue
        rows, columns = module.weight.shape
        found.append(_Matrix(name, kind, module, places.get(id(module)), (rows, columns)))
    return found


def _parts(model: Any, matrices: Sequence[_Matrix]) -> tuple[list[Any], list[Any]]:
    return [one.module.weight for one in matrices], list(model.parameters())


@contextmanager
def _hooks(pairs: Sequence[tuple[Any, Callable[..., Any]]]) -> Iterator[None]:
    handles = [module.register_forward_hook(hook) for module, hook in pairs]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _forward(
    stream: LayerStream,
    chosen: Sequence[Sequence[int]],
    matrices: Sequence[_Matrix],
    folder: Path,
    job: WorkerJob,
) -> _Run:
    """Run the text through the model, keep each block's inputs, and set each matrix's importance.

    The importance is the mean square of each input, as in llama.cpp's importance matrix; ones for a lookup.
    """
    import torch

    def note(one: _Matrix, inputs: Any) -> None:
        square = inputs.reshape(-1, inputs.shape[-1]).square().mean(0)
        one.importance = square if one.importance is None else one.importance + square

    def hook(one: _Matrix) -> Callable[..., None]:
        return lambda module, args, output: note(one, args[0])

    with streamed.without_gradients():
        inputs = [stream.embed(chosen, folder / "0.npy")]
        for number in range(len(stream.blocks)):
            job.progress(0.3 * number / len(stream.blocks), "activations")
            inputs.append(Activations.create(folder / f"{number + 1}.npy", inputs[0].values.shape))
            pairs = [(one.module, hook(one)) for one in matrices if one.block == number]
            with stream.resident(number), _hooks(pairs):
                for window in range(len(chosen)):
                    inputs[-1][window] = stream.run(number, inputs[-2][window])
        for one in matrices:
            if one.kind in ("head", "tied"):
                for window in range(len(chosen)):
                    note(one, stream.normalized(inputs[-1][window]))
            elif one.importance is None:
                one.importance = torch.ones(one.shape[1])
    return _Run(stream, chosen, inputs, folder)


def _round(one: _Matrix, folder: Path) -> None:
    """Set the rounding error at the anchor precision, and each precision's weighted squared error relative to it."""
    columns = one.shape[1]
    anchor = ANCHOR if columns % ANCHOR[1] == 0 else (ANCHOR[0], 0)
    one.delta = _delta_of(one, folder)
    weighted = {(bits, group): 0.0 for bits in BITS for group in GROUPS if not group or columns % group == 0}
    weighted.setdefault(anchor, 0.0)
    for rows in _row_parts(one):
        weight = one.module.weight.detach()[rows].float()
        for bits, group in weighted:
            delta = rounded(weight, bits, group or columns, one.importance) - weight
            weighted[bits, group] += float((delta.square() * one.importance).sum())
            if (bits, group) == anchor:
                one.delta[rows] = delta.to(one.delta.dtype)
    least = max(weighted[anchor], 1e-30)
    one.errors = {
        error_key(bits, group): error / least
        for (bits, group), error in weighted.items()
        if bits in BITS and group in GROUPS
    }


def _round_again(one: _Matrix, folder: Path) -> Any:
    """Return the rounding error at the anchor precision, as `_round` does."""
    columns = one.shape[1]
    bits, group = ANCHOR if columns % ANCHOR[1] == 0 else (ANCHOR[0], 0)
    found = _delta_of(one, folder)
    for rows in _row_parts(one):
        weight = one.module.weight.detach()[rows].float()
        found[rows] = (rounded(weight, bits, group or columns, one.importance) - weight).to(found.dtype)
    return found


def _row_parts(one: _Matrix) -> list[slice]:
    step = max(1, _CHUNK // one.shape[1])
    return [slice(at, at + step) for at in range(0, one.shape[0], step)]


def _delta_of(one: _Matrix, folder: Path) -> Any:
    """Return an empty bfloat16 matrix: in a file for the embeddings and the head, which may be larger than a block."""
    import numpy as np
    import torch

    if one.block is not None:
        return torch.empty(one.shape, dtype=torch.bfloat16)
    path = folder / f"delta-{one.kind}.bin"
    return torch.from_numpy(np.memmap(path, np.int16, "w+", shape=one.shape)).view(torch.bfloat16)


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


def _estimate(run: _Run, matrices: Sequence[_Matrix], job: WorkerJob) -> None:
    """Sum (gᵀ D x)² over the tokens of the text, for all matrices, block by block from the last to the first."""
    import torch

    stream, count = run.stream, len(run.stream.blocks)
    gradients = Activations.create(run.folder / "gradients.npy", run.inputs[0].values.shape)
    outer = [one for one in matrices if one.block is None]
    for one in outer:
        _round(one, run.folder)
    head = [(stream.head, _note(one)) for one in outer if one.kind in ("head", "tied")]
    drawn = torch.Generator().manual_seed(0)
    with torch.enable_grad(), _hooks(head):
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
                _round(one, run.folder)
            with _hooks([(one.module, _note(one)) for one in inside]):
                for window in range(len(run.windows)):
                    hidden = run.inputs[number][window].clone().requires_grad_(True)
                    stream.run(number, hidden).backward(gradients[window])
                    gradients[window] = hidden.grad
        for one in inside:
            one.delta = None
    looked_up = [one for one in outer if one.kind in ("embedding", "tied")]
    for window, ids in enumerate(run.windows):
        pairs = [(stream.embeddings, _note(one, torch.tensor([list(ids)]))) for one in looked_up]
        with torch.enable_grad(), _hooks(pairs):
            stream.embedded(ids).backward(gradients[window])


def _note(one: _Matrix, looked_up: Any = None) -> Callable[..., None]:
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
                    for rows in _row_parts(one)
                )
            one.squares += float(found.square().sum())

        output.register_hook(back)

    return hook


def _compare(run: _Run, matrices: Sequence[_Matrix], few: int, job: WorkerJob) -> None:
    """Measure the exact divergence of some matrices, including the most sensitive one, on `few` windows.

    A rounded matrix changes nothing before its own block, so its run begins there, with the original's activations.
    """
    order = sorted(matrices, key=lambda one: -one.squares)
    some = order[:: max(1, -(-len(order) // _EXACT))]
    stream, shape = run.stream, (few, *run.inputs[0].values.shape[1:])
    states: dict[str, Activations] = {}
    with streamed.without_gradients():
        for one in some:
            if one.kind in ("embedding", "tied"):
                stream.changes = {"embeddings": _outer_delta(one, run.folder)}
                states[one.name] = stream.embed(run.windows[:few], run.folder / f"{one.name}.npy")
                stream.changes = {}
        for number in range(len(stream.blocks)):
            job.progress(0.7 + 0.25 * number / len(stream.blocks), "rounding one matrix at a time")
            with stream.resident(number):
                for state in states.values():
                    for window in range(few):
                        state[window] = stream.run(number, state[window])
                for one in (one for one in some if one.block == number):
                    states[one.name] = Activations.create(run.folder / f"{one.name}.npy", shape)
                    with _changed(one, run.folder):
                        for window in range(few):
                            states[one.name][window] = stream.run(number, run.inputs[number][window])
        job.progress(0.95, "comparing")
        _divergences(run, some, states, few)


def _outer_delta(one: _Matrix, folder: Path) -> Any:
    """Return the rounding error of the embeddings or the head, which `_estimate` keeps."""
    if one.delta is None:
        one.delta = _round_again(one, folder)
    return one.delta


@contextmanager
def _changed(one: _Matrix, folder: Path) -> Iterator[None]:
    """Round a matrix of the resident block meanwhile."""
    weights = one.module.weight.data
    one.module.weight.data = weights + _round_again(one, folder).float()
    try:
        yield
    finally:
        one.module.weight.data = weights


def _divergences(run: _Run, some: Sequence[_Matrix], states: dict[str, Activations], few: int) -> None:
    """Set `exact` of each matrix from the last hidden states with it rounded."""
    stream, totals = run.stream, dict.fromkeys((one.name for one in some), 0.0)
    for window in range(few):
        expected = _log_probabilities(stream, run.inputs[-1][window])
        for one in some:
            if one.kind in ("head", "tied"):
                stream.changes = {"head": _outer_delta(one, run.folder)}
            found = _log_probabilities(stream, states.get(one.name, run.inputs[-1])[window])
            stream.changes = {}
            totals[one.name] += float((expected.exp() * (expected - found)).sum(-1).double().sum())
    tokens = sum(map(len, run.windows[:few]))
    for one in some:
        # The KL divergence is never negative; negative values are rounding errors.
        one.exact = max(totals[one.name] / tokens, 0.0)


def _log_probabilities(stream: LayerStream, hidden: Any) -> Any:
    return stream.logits(stream.normalized(hidden))[0].float().log_softmax(-1)


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
            "rows": one.shape[0],
            "columns": one.shape[1],
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
