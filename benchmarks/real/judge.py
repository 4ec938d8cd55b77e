"""Judge artifacts by the task's own metric on held-out samples. Shares no code with edgehone.

    python judge.py NAME FOLDER ARTIFACT…

FOLDER is what samples.py wrote. Prints a JSON object: the metric of the original under "original", and of each artifact
(a folder with model.onnx or an OpenVINO IR, or a GGUF file); higher is better, null where it cannot be judged here.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

Run = Callable[[dict[str, np.ndarray]], list[np.ndarray]]


def opened(path: Path) -> Run | None:
    """Return a function that runs a model on a batch, by the runtime that its file needs."""
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

    compiled = ov.Core().compile_model(str(graphs[0]), "CPU")
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


# Tokens of a window of the evaluation text.
WINDOW = 256


class Gguf:
    """A GGUF file in llama.cpp's library, by its C interface, with a context of WINDOW tokens."""

    def __init__(self, artifact: Path, toolchain: Path) -> None:
        os.environ["LLAMA_CPP_LIB_PATH"] = str(toolchain / "bin")
        sys.path.insert(0, str(toolchain / "python"))
        from llama_cpp import llama_cpp as lib

        self.lib = lib
        self.silent = lib.llama_log_callback(lambda *_: None)  # kept, since the library calls it later
        lib.llama_log_set(self.silent, None)
        lib.llama_backend_init()
        self.model = lib.llama_model_load_from_file(os.fsencode(artifact), lib.llama_model_default_params())
        self.vocabulary = lib.llama_model_get_vocab(self.model)
        self.size = lib.llama_vocab_n_tokens(self.vocabulary)
        params = lib.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = WINDOW
        params.n_threads = params.n_threads_batch = 2
        self.context = lib.llama_init_from_model(self.model, params)

    def close(self) -> None:
        """Free the model."""
        self.lib.llama_free(self.context)
        self.lib.llama_model_free(self.model)
        self.lib.llama_log_set(self.lib.llama_log_callback(), None)

    def tokens(self, text: bytes, special: bool = False) -> list[int]:
        """Return the ids of a text; `special` tokens may be written in it."""
        room = (self.lib.llama_token * len(text))()
        count = self.lib.llama_tokenize(self.vocabulary, text, len(text), room, len(text), False, special)
        return list(room[:count])

    def forget(self) -> None:
        """Begin another text."""
        self.lib.llama_memory_clear(self.lib.llama_get_memory(self.context), True)

    def logits(self, ids: list[int], begin: int = 0) -> np.ndarray:
        """Return a row of logits for each of the tokens, which stand from position `begin` on."""
        lib = self.lib
        batch = lib.llama_batch_init(len(ids), 0, 1)
        batch.n_tokens = len(ids)
        for place, token in enumerate(ids):
            batch.token[place], batch.pos[place] = token, begin + place
            batch.n_seq_id[place], batch.seq_id[place][0], batch.logits[place] = 1, 0, True
        if lib.llama_decode(self.context, batch):
            raise SystemExit("llama.cpp cannot decode the file")
        rows = np.ctypeslib.as_array(lib.llama_get_logits(self.context), shape=(len(ids), self.size)).copy()
        lib.llama_batch_free(batch)
        return rows


def gemma3(opened: Gguf) -> float:
    """Return 1 / perplexity over windows of the evaluation text."""
    text = (Path(__file__).parents[2] / "src/edgehone/data/texts/evaluation.txt").read_bytes()
    ids = opened.tokens(text)
    losses: list[float] = []
    for begin in range(0, min(len(ids) - WINDOW, 8 * WINDOW), WINDOW - 1):
        window = [opened.lib.llama_vocab_bos(opened.vocabulary), *ids[begin : begin + WINDOW - 1]]
        opened.forget()
        logits = opened.logits(window)[:-1].astype(np.float64)
        logits -= logits.max(1, keepdims=True)
        logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        losses += [-logs[place, token] for place, token in enumerate(window[1:])]
    return float(np.exp(-np.mean(losses)))


# How SmolLM2 is asked, by the chat template in its file; its own system prompt; tokens of an answer.
ASKED = (
    "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
)
ANSWER = 48


def answers(opened: Gguf, folder: Path) -> list[tuple[list[int], list[int]]]:
    """Return the ids of held-out questions in the chat template, and those of the file's greedy answers."""
    found = []
    for line in (folder / "truth.jsonl").read_text("utf-8").splitlines():
        asked = opened.tokens(ASKED.format(json.loads(line)["messages"][0]["content"]).encode(), special=True)
        opened.forget()
        answer = [int(opened.logits(asked)[-1].argmax())]
        while len(answer) < ANSWER and not opened.lib.llama_vocab_is_eog(opened.vocabulary, answer[-1]):
            answer.append(int(opened.logits(answer[-1:], len(asked) + len(answer) - 1)[-1].argmax()))
        found.append((asked, answer))
    return found


def smollm2(opened: Gguf, told: list[tuple[list[int], list[int]]]) -> float:
    """Return the share of the tokens of the original's answers that the file would have written alike."""
    alike: list[bool] = []
    for asked, answer in told:
        opened.forget()
        rows = opened.logits([*asked, *answer])[len(asked) - 1 : -1]
        alike += list(rows.argmax(1) == np.array(answer))
    return float(np.mean(alike))


def language(name: str, folder: Path, artifacts: list[Path], tool: Path) -> dict[str, float | None]:
    """Return the metric of a language model's file and of each artifact's."""
    original = Gguf(folder / "model.gguf", tool)
    told = answers(original, folder) if name == "smollm2" else []

    def metric(opened: Gguf) -> float:
        return smollm2(opened, told) if name == "smollm2" else gemma3(opened)

    found: dict[str, float | None] = {"original": metric(original)}
    original.close()
    for artifact in artifacts:
        files = sorted(artifact.glob("*.gguf"))
        found[str(artifact)] = None
        if files:
            opened = Gguf(files[0], tool)
            found[str(artifact)] = metric(opened)
            opened.close()
    return found


def judge(name: str, folder: Path, artifacts: list[Path], tool: str | None) -> dict[str, float | None]:
    """Return the metric of the original and of each artifact."""
    if name in ("gemma3", "smollm2"):
        assert tool is not None
        return language(name, folder, artifacts, Path(tool))
    measure = {f.__name__: f for f in (magika, silero_vad, rapidocr, nudenet, minilm)}[name]
    original = torch_encoder(folder) if name == "minilm" else opened(folder / "model.onnx")
    assert original is not None
    found: dict[str, float | None] = {"original": measure(folder, original, original)}
    for artifact in artifacts:
        run = opened(artifact)
        found[str(artifact)] = None if run is None else measure(folder, run, original)
    return found


if __name__ == "__main__":
    given = [word for word in sys.argv[1:] if not word.startswith("--tool=")]
    tools = [word.removeprefix("--tool=") for word in sys.argv[1:] if word.startswith("--tool=")]
    result = judge(given[0], Path(given[1]), [Path(one) for one in given[2:]], tools[0] if tools else None)
    print(json.dumps(result))
