"""Metrics computed by well-kept libraries, in an environment of their own (worker side).

f1, auroc, average_precision, ndcg, iou: scikit-learn. spearman: SciPy. cer, wer: jiwer. map: faster-coco-eval.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.sessions import WorkerJob
from edgehone.core.errors import InputError
from edgehone.worker import ctc, detections

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Outputs = Mapping[str, Array]
    Score = Callable[[Array], float]  # the metric of the samples at these indices

# Resamples of the bootstrap: at most, and the seconds after which no more are drawn, but for the least number.
RESAMPLES = 500
LEAST_RESAMPLES = 50
SECONDS = 30.0
# Of error rates, 1 - rate is what can be kept.
ERROR_RATES = ("cer", "wer")


def compare(job: WorkerJob) -> dict[str, Any]:
    """Return the metric of a candidate's outputs and of the original's, and of paired resamples of the samples.

    args: metric; output (the name of the output that is judged), role (of `evaluation.roles`), layout (fields of
    `detections.Layout`, or None), alphabet (the text of each class but the blank, or None). inputs: reference and
    candidate (folders of `worker.score_graph`), samples. Returns value and base (the metric of both), and values and
    kept (of the resamples: the metric of the candidate, and its share of the original's). Raises InputError for labels
    that the metric does not accept.
    """
    import numpy as np

    with np.load(job.inputs["samples"] / "samples.npz", allow_pickle=False) as file:
        labels = file["labels"]
    name = job.args["metric"]
    reference, candidate = (_outputs(job.inputs[one]) for one in ("reference", "candidate"))
    count = len(next(iter(candidate.values())))
    labels = labels[: count // 2] if _pairs(name, labels, count) else labels[:count]
    try:
        mine, base = (_METRICS[name](outputs, labels, job.args) for outputs in (candidate, reference))
        every = np.arange(len(labels))
        value, original = mine(every), base(every)
    except (ValueError, IndexError, TypeError) as error:
        raise InputError(f"the metric {name} does not accept these labels and outputs: {error}") from error
    return {
        "value": value,
        "base": original,
        "samples": len(labels),
        **_resampled(mine, base, len(labels), name, job),
    }


def _resampled(mine: Score, base: Score, count: int, name: str, job: WorkerJob) -> dict[str, list[float]]:
    import numpy as np

    rng = np.random.default_rng(0)
    values, kept = [], []
    begun = time.monotonic()
    for number in range(RESAMPLES):
        if number >= LEAST_RESAMPLES and time.monotonic() - begun > SECONDS:
            break
        drawn = rng.integers(0, count, count)
        try:
            value, original = mine(drawn), base(drawn)
        except ValueError:  # a resample in which a class is missing has no such metric
            continue
        values.append(value)
        if (part := share_kept(name, value, original)) is not None:
            kept.append(part)
        job.progress((number + 1) / RESAMPLES, "resamples")
    return {"values": values, "kept": kept}


def share_kept(name: str, value: float, original: float) -> float | None:
    """Return the metric as a share of the original's; of error rates, 1 - rate. None if the original's is 0 or less."""
    if name in ERROR_RATES:
        value, original = 1 - value, 1 - original
    return value / original if original > 0 else None


def _outputs(folder: Path) -> Outputs:
    import numpy as np

    names = json.loads((folder / "outputs.json").read_text("utf-8"))["outputs"]
    return {name: np.load(folder / f"{index}.npy", mmap_mode="r") for index, name in enumerate(names)}


def _pairs(name: str, labels: Array, count: int) -> bool:
    return name == "spearman" and 2 * len(labels) >= count > len(labels)


def _scores(outputs: Outputs, args: Mapping[str, Any]) -> Array:
    import numpy as np

    return np.asarray(outputs[args["output"]], np.float64)


def _set(scores: Array) -> Array:
    """Return which labels are set: scores from 0.5 on, or from 0 on if they are not probabilities."""
    probabilities = bool((scores >= 0).all()) and bool((scores <= 1).all())
    return (scores >= (0.5 if probabilities else 0.0)).astype(int)


def _f1(outputs: Outputs, labels: Array, args: Mapping[str, Any]) -> Score:
    from sklearn.metrics import f1_score

    scores = _scores(outputs, args)
    single = labels.ndim == 1 and scores.ndim == 2 and scores.shape[1] > 1
    picked = scores.argmax(1) if single else _set(scores).reshape(labels.shape)
    average = "macro" if single or labels.ndim > 1 else "binary"
    return lambda at: float(f1_score(labels[at], picked[at], average=average, zero_division=0))


def _ranked(
    metric: Callable[..., Any], outputs: Outputs, labels: Array, args: Mapping[str, Any], **options: Any
) -> Score:
    """Return a metric of scores against 0/1 labels, the mean over the classes that occur with both."""
    import numpy as np

    scores = _scores(outputs, args).reshape(len(labels), -1)
    classes = scores.shape[1]
    if classes == 1 or labels.ndim > 1:
        truth = labels.reshape(len(labels), -1)
    else:
        truth = (labels[:, None] == np.arange(classes)).astype(int)

    def score(at: Array) -> float:
        both = [i for i in range(truth.shape[1]) if 0 < truth[at, i].sum() < len(at)]
        if not both:
            raise ValueError("no class occurs in some samples and not in others")
        return float(np.mean([metric(truth[at, i], scores[at, i], **options) for i in both]))

    return score


def _auroc(outputs: Outputs, labels: Array, args: Mapping[str, Any]) -> Score:
    from sklearn.metrics import roc_auc_score

    return _ranked(roc_auc_score, outputs, labels, args)


def _average_precision(outputs: Outputs, labels: Array, args: Mapping[str, Any]) -> Score:
    from sklearn.metrics import average_precision_score

    return _ranked(average_precision_score, outputs, labels, args)


def _ndcg(outputs: Outputs, labels: Array, args: Mapping[str, Any]) -> Score:
    """Rank the other samples by cosine: those with the same label are relevant.

    Labels of the scores' shape are relevances of the entries.
    """
    import numpy as np
    from sklearn.metrics import ndcg_score

    scores = _scores(outputs, args)
    if labels.shape == scores.shape:
        return lambda at: float(ndcg_score(labels[at], scores[at]))
    units = scores / np.maximum(np.linalg.norm(scores, axis=1, keepdims=True), 1e-12)
    others = ~np.eye(len(labels), dtype=bool)
    rows = [
        float(ndcg_score([(labels[others[i]] == labels[i]).astype(int)], [units[others[i]] @ units[i]]))
        for i in range(len(labels))
    ]
    return lambda at: float(np.array(rows)[at].mean())


def _spearman(outputs: Outputs, labels: Array, args: Mapping[str, Any]) -> Score:
    """Correlate ranks; for pairs of texts those of the cosine of their vectors."""
    import numpy as np
    from scipy.stats import spearmanr

    scores = _scores(outputs, args)
    if len(scores) == 2 * len(labels):
        units = scores / np.maximum(np.linalg.norm(scores, axis=1, keepdims=True), 1e-12)
        values = (units[0::2] * units[1::2]).sum(1)
    else:
        values = scores.reshape(labels.shape)

    def score(at: Array) -> float:
        a, b = values[at].ravel(), labels[at].ravel()
        return 0.0 if a.std() == 0 or b.std() == 0 else float(spearmanr(a, b).statistic)

    return score


def _iou(outputs: Outputs, labels: Array, args: Mapping[str, Any]) -> Score:
    """Return the mean over the samples of the mean intersection over union of the classes in each."""
    import numpy as np
    from sklearn.metrics import jaccard_score

    scores = outputs[args["output"]]
    axis = 1 if scores.shape[1] <= scores.shape[-1] else scores.ndim - 1
    picked = _set(scores).squeeze(axis) if scores.shape[axis] == 1 else scores.argmax(axis)
    truth = labels.reshape(picked.shape)
    rows = [
        float(jaccard_score(t.ravel(), p.ravel(), average="macro", zero_division=1.0))
        for t, p in zip(truth, picked, strict=True)
    ]
    return lambda at: float(np.array(rows)[at].mean())


def _error_rate(outputs: Outputs, labels: Array, args: Mapping[str, Any]) -> Score:
    """Return the edits per character or word. Labels are texts (with an alphabet), or classes padded with -1."""
    import jiwer
    import numpy as np

    scores = outputs[args["output"]]
    blank = args["blank"] if args.get("blank") is not None else ctc.blank_of(scores)
    alphabet = args.get("alphabet")
    if alphabet is None and (labels.dtype.kind not in "iu" or args["metric"] == "wer"):
        raise InputError(
            f"{args['metric']} of texts needs the characters of the classes",
            hint="set alphabet (a string, one character for each class but the blank) in [ctc] of edgehone.toml",
        )
    picked = [_text(one, blank, alphabet) for one in ctc.texts(scores, blank)]
    truth = [
        str(one) if labels.dtype.kind == "U" else _text(one[one >= 0], blank, alphabet) for one in labels
    ]
    process = jiwer.process_words if args["metric"] == "wer" else jiwer.process_characters
    counts = []
    for wanted, got in zip(truth, picked, strict=True):
        if not wanted:
            counts.append((len(got), 0))
            continue
        alignment = process(wanted, got)
        edits = alignment.substitutions + alignment.deletions + alignment.insertions
        counts.append((edits, alignment.substitutions + alignment.deletions + alignment.hits))
    table = np.array(counts, np.float64)
    return lambda at: float(table[at, 0].sum() / max(table[at, 1].sum(), 1.0))


def _text(classes: Any, blank: int, alphabet: str | None) -> str:
    """Return the classes as text; without an alphabet each class is a character of its own."""
    if alphabet is None:
        return "".join(chr(0x4E00 + int(one)) for one in classes)
    index = [int(one) - (int(one) > blank) for one in classes]
    return "".join(alphabet[i] if i < len(alphabet) else "\ufffd" for i in index)


def _map(outputs: Outputs, labels: Array, args: Mapping[str, Any]) -> Score:
    """Return COCO's mean average precision. labels: [samples, boxes, 5], class and corners, padded with class -1."""
    if args.get("layout") is None or labels.ndim != 3 or labels.shape[2] != 5:
        raise InputError(
            f"map needs an output with boxes and labels [samples, boxes, 5], not {list(labels.shape)}",
            hint="labels are class, x1, y1, x2, y2 in the scale of the model's boxes, padded with class -1",
        )
    layout = detections.Layout(**args["layout"])
    detected = [detections.find(outputs, layout, i, least=0.001) for i in range(len(labels))]
    truth = [[(int(row[0]), *map(float, row[1:])) for row in sample if row[0] >= 0] for sample in labels]
    return lambda at: _coco([detected[i] for i in at], [truth[i] for i in at])


def _coco(found: list[Any], truth: list[list[Any]]) -> float:
    import contextlib
    import io

    from faster_coco_eval import COCO, COCOeval_faster

    boxes = [
        {"id": 0, "image_id": i, "category_id": label, "bbox": [x1, y1, x2 - x1, y2 - y1], "iscrowd": 0,
         "area": (x2 - x1) * (y2 - y1)}
        for i, sample in enumerate(truth)
        for label, x1, y1, x2, y2 in sample
    ]  # fmt: skip
    if not boxes:
        raise ValueError("no sample has a box")
    for number, box in enumerate(boxes, 1):
        box["id"] = number
    categories = sorted({box["category_id"] for box in boxes})
    with contextlib.redirect_stdout(io.StringIO()):
        ground = COCO(
            {
                "images": [{"id": i} for i in range(len(truth))],
                "annotations": boxes,
                "categories": [{"id": one, "name": str(one)} for one in categories],
            }
        )
        results = [
            {"image_id": i, "category_id": int(label), "score": float(score),
             "bbox": [float(b[0]), float(b[1]), float(b[2] - b[0]), float(b[3] - b[1])]}
            for i, (some, scores, labels) in enumerate(found)
            for b, score, label in zip(some, scores, labels, strict=True)
        ]  # fmt: skip
        if not results:
            return 0.0
        run = COCOeval_faster(ground, ground.loadRes(results), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return max(0.0, float(run.stats[0]))


_METRICS: Mapping[str, Callable[[Outputs, Array, Mapping[str, Any]], Score]] = {
    "f1": _f1,
    "auroc": _auroc,
    "average_precision": _average_precision,
    "ndcg": _ndcg,
    "spearman": _spearman,
    "iou": _iou,
    "cer": _error_rate,
    "wer": _error_rate,
    "map": _map,
}
