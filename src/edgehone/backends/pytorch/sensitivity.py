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
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgehone.backends.pytorch import streamed
from edgehone.backends.pytorch.exact_divergence import measure_exactly
from edgehone.backends.pytorch.fisher import estimate
from edgehone.backends.pytorch.matrices import Matrix, matrices_of, run_forward
from edgehone.backends.pytorch.streamed import NotStreamable
from edgehone.backends.shared.calibration import LENGTH, windows
from edgehone.transform.precision.assign import TABLE

if TYPE_CHECKING:
    from edgehone.backends.sessions import WorkerJob

_WINDOWS = 16
# Bytes of float32 log-probabilities in the exact comparison; they limit its number of windows.
_EXACT_BYTES = 512 << 20
# Smallest share of the parameters that must be measured. With less, an assignment would be mostly guesswork.
_MIN_SHARE = 0.9


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
        matrices = matrices_of(stream)
        known, whole = (sum(one.numel() for one in many) for many in _parts(stream.model, matrices))
        if known < _MIN_SHARE * whole:
            return {"nothing_to_gain": f"only {known / whole:.0%} of the parameters are in linear layers"}
        folder = job.out / ".activations"
        run = run_forward(stream, chosen, matrices, folder, job)
    except NotStreamable as reason:
        return {"nothing_to_gain": f"the model cannot be run block by block: {reason}"}
    estimate(run, matrices, job)
    few = max(1, _EXACT_BYTES // (4 * matrices[0].shape[0] * len(chosen[0])))
    measure_exactly(run, matrices, min(few, len(chosen)), job)
    shutil.rmtree(folder)
    facts = _facts(matrices, sum(map(len, chosen)))
    (job.out / TABLE).write_text(json.dumps(facts), "utf-8")
    return facts


def _parts(model: Any, matrices: Sequence[Matrix]) -> tuple[list[Any], list[Any]]:
    return [one.module.weight for one in matrices], list(model.parameters())


def _facts(matrices: Sequence[Matrix], tokens: int) -> dict[str, Any]:
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
