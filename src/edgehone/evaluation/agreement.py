"""Quality figures of a graph, each paired with the original by sample.

With labels they are computed by a metric, otherwise from the agreement of the outputs with the original's. Each output,
and each group of its channels that has a scale of its own, is judged by itself, and the worst one counts: boxes of 0 to
320 must not hide the loss of scores of 0 to 1.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.core.errors import EdgehoneError
from edgehone.core.figure import Figure
from edgehone.evaluation import metrics
from edgehone.evaluation import statistics as st
from edgehone.evaluation.counted import Agreement
from edgehone.evaluation.decisions import agree
from edgehone.evaluation.differences import Differences, differences
from edgehone.evaluation.quality import ParityCheck, kept_ratio, share
from edgehone.evaluation.roles import ONE_SCALE, OutputRole
from edgehone.evaluation.scales import one_scale_groups
from edgehone.inputs.output_sizes import sized_output
from edgehone.inputs.sample_arrays import LABELS
from edgehone.worker.logprobs import log_softmax

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Outputs = dict[str, Array]

# Resamples of the bootstrap for metrics that have no value per sample.
RESAMPLES = 500
_NOT_LANGUAGE = ("next_token_accuracy", "perplexity")


def read(folder: Path, beside: Collection[str] = ()) -> Outputs:
    """Return the outputs that `worker.score_graph` wrote to `folder`, by name.

    Empty ones are left out, but for those in `beside`, the outputs of the original.
    """
    names = json.loads((folder / "outputs.json").read_text("utf-8"))["outputs"]
    arrays = {name: _loaded(folder / f"{i}.npy") for i, name in enumerate(names)}
    return {name: array for name, array in arrays.items() if array.size or name in beside}


def _loaded(path: Path) -> Array:
    """Return the array of a file, memory-mapped unless it is empty, which numpy cannot map."""
    import numpy as np

    try:
        array: Array = np.load(path, mmap_mode="r")
    except ValueError:
        array = np.load(path)
    return array


def labels_of(samples: Path, count: int | None = None) -> Array | None:
    """Return the labels of all samples, or of the first `count` (pairs have half as many); None if there are none."""
    import numpy as np

    with np.load(samples / "samples.npz") as file:
        if LABELS not in file.files:
            return None
        inputs = len(file[next(name for name in file.files if name != LABELS)])
        labels: Array = file[LABELS]
        # A user's metric that wrote into them would change the labels of the candidates that follow.
        labels.flags.writeable = False
        return labels if count is None else labels[: count * len(labels) // inputs]


def figures(
    reference: Outputs,
    candidate: Outputs,
    roles: Sequence[OutputRole],
    labels: Array | None = None,
    metric: str | None = None,
) -> dict[str, Figure]:
    """Return the quality figures of one candidate, or of the original (with `reference` and `candidate` the same).

    With labels: the metric under its name, and accuracy_kept, the metric as a share of the original's, unless a library
    computes it (`evaluation.by_library`). Without labels accuracy_kept is the share of the original's decisions that
    the worst output keeps, by its role (`evaluation.decisions`). Always, each of the worst output: max_error and
    mean_error (|candidate - original|), cosine (mean over the samples), relative_error (mean over the samples of
    |candidate - original| over the root mean square of |original|, of the worst group of channels of one scale); and
    for a classification same_top, kl_mean and kl_p99. Raises EdgehoneError if the outputs differ in shape.
    """
    _check(reference, candidate)
    result = _errors(reference, candidate, roles) | _by_class(reference, candidate, roles)
    if labels is not None and metric is not None and metric not in metrics.LIBRARY:
        result |= _by_metric(metrics.find(metric), reference, candidate, labels)
    else:
        result["accuracy_kept"] = kept(reference, candidate, roles)
    reason = "the model is not a language model"
    return result | {name: Figure.missing(reason) for name in _NOT_LANGUAGE}


def kept(reference: Outputs, candidate: Outputs, roles: Sequence[OutputRole]) -> Figure:
    """Return the share of the original's decisions that is kept in the worst output."""
    every = [one for figures in by_output(reference, candidate, roles).values() for one in figures]
    known = [one for one in every if one.value is not None]
    if not known:
        return every[0] if every else Figure.missing("the model has no output", "share")
    lows, highs = [one.low for one in known], [one.high for one in known]
    return Figure(
        min(one.value for one in known if one.value is not None),
        None if None in lows else min(low for low in lows if low is not None),
        None if None in highs else min(high for high in highs if high is not None),
        min(one.n for one in known),
        "share",
    )


def by_output(reference: Outputs, candidate: Outputs, roles: Sequence[OutputRole]) -> dict[str, list[Figure]]:
    """Return the measures of agreement of each output, by its name."""
    return {one.name: [each.figure() for each in agree(one, reference, candidate)] for one in roles}


def parity_check(figures: Mapping[str, Figure], tolerance: Mapping[str, float]) -> ParityCheck:
    """Check that the unquantized build computes what the original does, by the mean relative error of its outputs."""
    error = figures["relative_error"].value
    if error is None:
        return ParityCheck(
            False, f"its unquantized build could not be compared: {figures['relative_error'].reason}"
        )
    limit = tolerance["relative_error_max"]
    result = f"the outputs of its unquantized build differ by {error:.2g} of their size"
    if not error <= limit:
        return ParityCheck(False, f"{result} (at most {limit:g})")
    return ParityCheck(True, result)


def rows(reference: Outputs, candidate: Outputs, roles: Sequence[OutputRole]) -> dict[str, list[float]]:
    """Return the evidence of each sample, of its worst output: cosine and relative error."""
    import numpy as np

    whole, groups = _differences(reference, candidate, roles)
    return {
        "cosine": [float(value) for value in np.min([one.cosine for one in whole], axis=0)],
        "relative_error": [float(value) for value in np.max([one.relative for one in groups], axis=0)],
    }


def _check(reference: Outputs, candidate: Outputs) -> None:
    for name in candidate:
        if (output := sized_output(name)) is not None and output in reference and name not in reference:
            one = list(reference[output].shape[1:])
            raise EdgehoneError(f"the output {output!r} has several sizes, the original's is always {one}")
    for name, array in reference.items():
        if candidate[name].shape != array.shape:
            raise EdgehoneError(
                f"the output {name!r} has the shape {list(candidate[name].shape)}, the original's {list(array.shape)}"
            )


def _errors(reference: Outputs, candidate: Outputs, roles: Sequence[OutputRole]) -> dict[str, Figure]:
    """Return the numeric differences of the worst output."""
    whole, groups = _differences(reference, candidate, roles)
    worst = max(whole, key=lambda one: float(one.mean.mean()))
    relative = max((one.relative for one in groups), key=lambda one: float(one.mean()))
    cosines = min((one.cosine for one in whole), key=lambda one: float(one.mean()))
    largest = max(float(one.largest.max(initial=0.0)) for one in whole)
    return {
        "max_error": Figure(largest, n=len(worst.mean)),
        "mean_error": st.mean_interval(worst.mean).figure(least=0.0),
        "cosine": st.mean_interval(cosines).figure("", most=1.0),
        "relative_error": st.mean_interval(relative).figure("share", least=0.0),
    }


def _by_class(reference: Outputs, candidate: Outputs, roles: Sequence[OutputRole]) -> dict[str, Figure]:
    """Return same_top and the divergence of the first output that decides on one class, once or for each step.

    The divergence of a sample of several steps is their mean.
    """
    import numpy as np

    one = next((one for one in roles if one.role in ("classes", "steps")), None)
    if one is None:
        reason = "no output is a classification"
        return {
            "same_top": Figure.missing(reason, "share"),
            "kl_mean": Figure.missing(reason, "nats"),
            "kl_p99": Figure.missing(reason, "nats"),
        }
    scores, mine = reference[one.name], candidate[one.name]
    steps = int(np.prod(scores.shape[1:-1]))
    same = (scores.argmax(-1) == mine.argmax(-1)).reshape(-1, steps).mean(1)
    by_step = _divergence(*(array.reshape(-1, array.shape[-1]) for array in (scores, mine)))
    kl = by_step.reshape(-1, steps).mean(1)
    enough = kl.size >= st.percentile_needs(0.99)
    few = Figure.missing(
        f"{kl.size} samples are too few for p99: it needs {st.percentile_needs(0.99)}", "nats"
    )
    return {
        "same_top": Agreement(same, np.ones_like(same)).figure(),
        "kl_mean": st.mean_interval(kl).figure("nats", least=0.0),
        "kl_p99": st.quantile_interval(kl, 0.99).figure("nats", least=0.0) if enough else few,
    }


def _divergence(scores: Array, mine: Array) -> Array:
    """Return KL(original || candidate) of each sample in nats. Scores may be probabilities or logits."""
    import numpy as np

    def logs(array: Array) -> Array:
        floats = np.asarray(array, np.float64)
        if (floats >= 0).all() and np.allclose(floats.sum(1), 1.0, atol=1e-3):
            return np.log(np.maximum(floats, 1e-12))
        return np.asarray(log_softmax(floats.astype(np.float32)), np.float64)

    p, q = logs(scores), logs(mine)
    kl: Array = np.maximum((np.exp(p) * (p - q)).sum(1), 0.0)
    return kl


def _by_metric(
    metric: metrics.Metric, reference: Outputs, candidate: Outputs, labels: Array
) -> dict[str, Figure]:
    if metric.rows is None:
        return _by_bootstrap(metric, reference, candidate, labels)
    import numpy as np

    ref, mine = (np.asarray(metric.rows(outputs, labels), np.float64) for outputs in (reference, candidate))
    clusters = np.arange(mine.size, dtype=np.float64)
    value = (
        share(mine, clusters)
        if metric.unit == "share"
        else st.mean_interval(mine).figure(metric.unit, least=0.0 if metric.name == "mse" else None)
    )
    top, bottom = (mine, ref) if metric.higher_is_better else (ref, mine)
    nothing = f"the original's {metric.name} is 0" if metric.higher_is_better else f"{metric.name} is 0"
    return {metric.name: value, "accuracy_kept": kept_ratio(top, bottom, clusters, nothing)}


def _by_bootstrap(
    metric: metrics.Metric, reference: Outputs, candidate: Outputs, labels: Array
) -> dict[str, Figure]:
    """Return a metric of all samples at once and its ratio, with intervals from a paired, seeded bootstrap."""
    import numpy as np

    assert metric.whole is not None
    each = len(next(iter(candidate.values()))) // len(labels)  # 2 for pairs
    rng = np.random.default_rng(0)
    value, base = (metric.whole(outputs, labels) for outputs in (candidate, reference))
    same = all(np.array_equal(candidate[name], reference[name]) for name in reference)
    values, ratios = [], []
    for _ in range(RESAMPLES):
        drawn = rng.integers(0, len(labels), len(labels))
        rows = (each * drawn[:, None] + np.arange(each)).ravel()
        mine, ref = (
            metric.whole({name: array[rows] for name, array in outputs.items()}, labels[drawn])
            for outputs in (candidate, reference)
        )
        values.append(mine)
        top, bottom = (mine, ref) if metric.higher_is_better else (ref, mine)
        ratios += [top / bottom] if bottom > 0 else []
    figure = Figure(value, *_ends(values, value), n=len(labels), unit=metric.unit)
    top, bottom = (value, base) if metric.higher_is_better else (base, value)
    if same and base > 0:
        kept = Figure(1.0, 1.0, 1.0, len(labels), "ratio")
    elif not bottom > 0:
        kept = Figure.missing(f"{metric.name} is {bottom:.3g}: there is no ratio", "ratio")
    else:
        kept = Figure(top / bottom, *_ends(ratios, top / bottom), n=len(labels), unit="ratio")
    return {metric.name: figure, "accuracy_kept": kept}


def _ends(values: list[float], value: float) -> tuple[float, float]:
    import numpy as np

    low, high = np.percentile(values, [2.5, 97.5])
    return min(float(low), value), max(float(high), value)


def _differences(
    reference: Outputs, candidate: Outputs, roles: Sequence[OutputRole]
) -> tuple[list[Differences], list[Differences]]:
    """Return the differences of each output, and of each group of its channels that has a scale of its own.

    Entries of one distribution share its scale: an unlikely class is not a group of its own.
    """
    whole, groups = [], []
    one_scale = {one.name for one in roles if one.role in ONE_SCALE}
    for name, array in reference.items():
        whole.append(differences(array, candidate[name]))
        parts = [] if name in one_scale else one_scale_groups(array, candidate[name])
        groups += [differences(*part) for part in parts] if len(parts) > 1 else [whole[-1]]
    return whole, groups
