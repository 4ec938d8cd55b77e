"""Metrics of language models on held-out text, by llama.cpp's library. Shares no code with edgehone."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np

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


def judged(name: str, folder: Path, artifacts: list[Path], tool: Path) -> dict[str, float | None]:
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
