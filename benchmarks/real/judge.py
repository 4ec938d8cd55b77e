"""Judge artifacts by the task's own metric on held-out samples. Shares no code with edgehone.

    python -m benchmarks.real.judge NAME FOLDER ARTIFACT…   # in the root of the repository

FOLDER is what samples.py wrote. Prints a JSON object: the metric of the original under "original", and of each artifact
(a folder with model.onnx or an OpenVINO IR, or a GGUF file); higher is better, null where it cannot be judged here.
An ARTIFACT is PATH, or PATH@f32 to compute it in float32: OpenVINO computes in bfloat16 on processors that can.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.real import language

# The first id of a letter; those before are spaces, digits and punctuation.
ARABIC_LETTERS, HEBREW_LETTERS = 18, 16

Run = Callable[[dict[str, np.ndarray]], list[np.ndarray]]


def opened(path: Path, precision: str = "") -> Run | None:
    """Return a function that runs a model on a batch, by the runtime that its file needs, OpenVINO in a precision."""
    graphs = (
        [path] if path.is_file() else sorted(path.rglob("*.onnx")) + sorted(path.rglob("openvino_model.xml"))
    )
    if not graphs:
        return None
    if graphs[0].suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(graphs[0]), providers=["CPUExecutionProvider"])
        names = {one.name for one in session.get_inputs()}
        return lambda feeds: session.run(None, {k: v for k, v in feeds.items() if k in names})
    import openvino as ov

    hints = {"INFERENCE_PRECISION_HINT": precision} if precision else {}
    compiled = ov.Core().compile_model(str(graphs[0]), "CPU", hints)
    ports = json.loads((graphs[0].parent / "ports.json").read_text())["inputs"]

    def run(feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        result = compiled([feeds[name] for name in ports])
        return [np.array(result[port]) for port in compiled.outputs]

    return run


def one_by_one(run: Run, feeds: dict[str, np.ndarray]) -> np.ndarray:
    """Return the first output of each sample, run alone."""
    count = len(next(iter(feeds.values())))
    return np.stack([run({name: array[[i]] for name, array in feeds.items()})[0][0] for i in range(count)])


def inputs(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return the held-out inputs and the truth."""
    with np.load(folder / "truth.npz") as file:
        arrays = {name: file[name] for name in file.files}
    feeds = {name[3:]: array for name, array in arrays.items() if name.startswith("in_")}
    return feeds, {name: array for name, array in arrays.items() if not name.startswith("in_")}


def magika(folder: Path, run: Run, original: Run) -> float:
    """Return the share of files whose type is told by their extension."""
    feeds, truth = inputs(folder)
    return float((one_by_one(run, feeds).argmax(1) == truth["label"]).mean())


def silero_vad(folder: Path, run: Run, original: Run) -> float:
    """Return the mean of the shares of speech and of pauses that are recognized, by sequences with their state."""
    feeds, truth = inputs(folder)
    heard = np.zeros(truth["speech"].shape, bool)
    for i, sequence in enumerate(feeds["input"]):
        state = np.zeros((2, 1, 128), np.float32)
        for step, chunk in enumerate(sequence):
            score, state = run({"input": chunk[None], "state": state, "sr": feeds["sr"]})
            heard[i, step] = score.item() >= 0.5
    return float(np.mean([(heard[truth["speech"] == one] == one).mean() for one in (False, True)]))


def rapidocr(folder: Path, run: Run, original: Run) -> float:
    """Return 1 - character error rate of the lines."""
    import onnxruntime

    feeds, truth = inputs(folder)
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
    letters = ["", *session.get_modelmeta().custom_metadata_map["character"].splitlines(), " "]
    edits = length = 0
    for scores, line in zip(one_by_one(run, feeds), truth["text"], strict=True):
        best = scores.argmax(-1)
        text = "".join(letters[int(c)] for i, c in enumerate(best) if c and (i == 0 or c != best[i - 1]))
        edits += distance(text, str(line))
        length += len(line)
    return max(0.0, 1 - edits / length)


def distance(one: str, other: str) -> int:
    """Return the edit distance of two strings."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]


def nudenet(folder: Path, run: Run, original: Run) -> float:
    """Return the average precision at an overlap of 0.5, with the original's detections as the truth."""
    feeds, _ = inputs(folder)
    truth = [detected(rows, 0.25) for rows in one_by_one(original, feeds)]
    found = [detected(rows, 0.05) for rows in one_by_one(run, feeds)]
    hits = []
    for wanted, got in zip(truth, found, strict=True):
        free = list(range(len(wanted)))
        for box in sorted(got, key=lambda one: -one[1]):
            match = next(
                (i for i in free if wanted[i][0] == box[0] and overlap(wanted[i][2], box[2]) >= 0.5), None
            )
            hits.append((box[1], match is not None))
            if match is not None:
                free.remove(match)
    total = sum(len(wanted) for wanted in truth)
    hits.sort(reverse=True)
    correct = np.cumsum([hit for _, hit in hits]) if hits else np.zeros(0)
    precision = correct / np.arange(1, len(hits) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float(sum(best[i] for i, (_, hit) in enumerate(hits) if hit) / max(total, 1))


def detected(rows: np.ndarray, least: float) -> list[tuple[int, float, tuple[float, float, float, float]]]:
    """Return class, score and corners of the boxes that are left after suppression of overlapping ones."""
    scores = rows[4:]
    order = np.argsort(-scores.max(0))
    kept: list[tuple[int, float, tuple[float, float, float, float]]] = []
    for i in order:
        score, label = float(scores[:, i].max()), int(scores[:, i].argmax())
        if score < least:
            break
        x, y, w, h = (float(v) for v in rows[:4, i])
        box = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
        if all(one != label or overlap(other, box) <= 0.45 for one, _, other in kept):
            kept.append((label, score, box))
    return kept


def overlap(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Return the intersection over union of two boxes."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return width * height / (sum(areas) - width * height)


def minilm(folder: Path, run: Run, original: Run) -> float:
    """Return the mean reciprocal rank of a passage's second half among all, by its first half."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "model" / "tokenizer.json"))
    tokenizer.enable_truncation(256)
    texts = [json.loads(line)["text"] for line in (folder / "truth.jsonl").read_text("utf-8").splitlines()]
    vectors = []
    for text in texts:
        ids = np.array([tokenizer.encode(text).ids], np.int64)
        feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        hidden = run(feeds)[0][0]
        vector = hidden.mean(0) if hidden.ndim == 2 else hidden
        vectors.append(vector / np.linalg.norm(vector))
    first, second = np.array(vectors[0::2]), np.array(vectors[1::2])
    similar = first @ second.T
    ranks = (similar > similar.diagonal()[:, None]).sum(1) + 1
    return float((1 / ranks).mean())


def torch_encoder(folder: Path) -> Run:
    """Return the original MiniLM, by transformers."""
    import torch
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder / "model").eval()

    def run(feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        with torch.no_grad():
            return [model(**{k: torch.from_numpy(v) for k, v in feeds.items()}).last_hidden_state.numpy()]

    return run


def tashkeel(folder: Path, run: Run, original: Run) -> float:
    """Return the share of Arabic letters that get the original's vowel mark; sentences run alone, without padding."""
    feeds, _ = inputs(folder)
    alike: list[bool] = []
    for i, length in enumerate(feeds["input_lengths"]):
        sentence = {
            name: array[[i]] if array.ndim == 1 else array[[i], :length] for name, array in feeds.items()
        }
        letters = sentence["char_inputs"][0] >= ARABIC_LETTERS
        alike += list((run(sentence)[1].argmax(-1) == original(sentence)[1].argmax(-1))[0][letters])
    return float(np.mean(alike))


def nakdimon(folder: Path, run: Run, original: Run) -> float:
    """Return the share of Hebrew letters that get all three of the original's marks."""
    feeds, _ = inputs(folder)
    alike: list[bool] = []
    for text in feeds["input_1"]:
        sentence = {"input_1": text[None, text > 0]}
        same = [
            one[0].argmax(-1) == other[0].argmax(-1)
            for one, other in zip(run(sentence), original(sentence), strict=True)
        ]
        alike += list(np.all(same, 0)[sentence["input_1"][0] >= HEBREW_LETTERS])
    return float(np.mean(alike))


def judge(name: str, folder: Path, artifacts: list[str], tool: str | None) -> dict[str, float | None]:
    """Return the metric of the original and of each artifact."""
    if name in ("gemma3", "smollm2"):
        assert tool is not None
        return language.judged(name, folder, [Path(one) for one in artifacts], Path(tool))
    measures = (magika, silero_vad, rapidocr, nudenet, minilm, tashkeel, nakdimon)
    measure = {f.__name__: f for f in measures}[name]
    original = torch_encoder(folder) if name == "minilm" else opened(folder / "model.onnx")
    assert original is not None
    found: dict[str, float | None] = {"original": measure(folder, original, original)}
    for artifact in artifacts:
        path, _, precision = artifact.partition("@")
        run = opened(Path(path), precision)
        found[artifact] = None if run is None else measure(folder, run, original)
    return found


if __name__ == "__main__":
    given = [word for word in sys.argv[1:] if not word.startswith("--tool=")]
    tools = [word.removeprefix("--tool=") for word in sys.argv[1:] if word.startswith("--tool=")]
    result = judge(given[0], Path(given[1]), given[2:], tools[0] if tools else None)
    print(json.dumps(result))
