"""Defects to plant in a bundle, and a bundle without any."""

from __future__ import annotations

import io
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgehone.inputs.texts import shipped
from tests.certify.subjects import (
    with_model,
    with_table,
)
from tests.finished import Finished, list_again
from tests.serve.conftest import with_template

Plant = Callable[[Path], Any]
CARD = (
    "# A model of bytes\n\nlicense: apache-2.0\n" + "It continues English text, and knows nothing else. " * 6
)
# All checks of a language model that need no server.
WITHOUT_SERVER = (
    "integrity", "licence", "notices", "provenance", "model_card", "sbom", "permissions", "pickles", "file_formats",
    "template_sandbox", "dependencies", "network", "calibration_data", "accuracy", "long_context", "chat_template",
    "typos", "unicode", "repeated_tokens", "odd_prompts", "malformed_files", "size", "memory", "latency_p50",
    "latency_p95", "latency_p99", "throughput",
)  # fmt: skip


@pytest.fixture
def clean(finished: Finished, spoiled: Path, warm_null: None) -> Path:
    """A copy of the finished bundle that has all that certification asks for."""
    (spoiled / "notices" / "README.md").write_text(CARD)
    return with_model(spoiled, licence="apache-2.0")


def broken_bytes(bundle: Path) -> Path:
    """What follows bytes beyond ASCII is noise."""

    def change(table: Any) -> None:
        table[128:256] += np.random.default_rng(5).normal(0, 6, table[128:256].shape)

    return with_table(bundle, change)


def worse(rows: slice) -> Plant:
    """The log-probabilities of some rows are mixed up, as a wrong scale of a group of weights does it."""

    def change(table: Any) -> None:
        table[rows] = np.random.default_rng(5).permutation(table[rows].T).T

    return lambda bundle: with_table(bundle, change)


def no_doubles(bundle: Path) -> Path:
    """Letters that are seldom doubled cannot be doubled any more, as rounding to few bits does it."""

    def change(table: Any) -> None:
        for letter in range(256):
            if table[letter, letter] < table[letter].max() - 6:
                table[letter, letter] -= 400

    return with_table(bundle, change)


def pickled(bundle: Path) -> None:
    (bundle / "artifact" / "weights.pkl").write_bytes(pickle.dumps(Evil()))
    list_again(bundle)


class Evil:
    def __reduce__(self) -> Any:
        return os.system, ("true",)


def cut_pickle(bundle: Path) -> None:
    (bundle / "artifact" / "weights.pkl").write_bytes(pickle.dumps([1, 2, 3])[:-3])
    list_again(bundle)


def objects(bundle: Path) -> None:
    np.save(bundle / "artifact" / "more.npy", np.array([{}], dtype=object), allow_pickle=True)
    list_again(bundle)


def unknown_format(bundle: Path) -> None:
    (bundle / "artifact" / "libcustom.so").write_bytes(b"\x7fELF")
    list_again(bundle)


def outside(bundle: Path) -> None:
    entry = {"model": {"decoder": {"filename": "../../etc/model.onnx"}}}
    (bundle / "artifact" / "genai_config.json").write_text(json.dumps(entry))
    list_again(bundle)


def escaping(bundle: Path) -> None:
    with_template(bundle)
    path = bundle / "tokenizer" / "tokenizer_config.json"
    stated = json.loads(path.read_text())
    stated["chat_template"] = "{{ messages.__class__.__mro__ }}" + stated["chat_template"]
    path.write_text(json.dumps(stated))
    list_again(bundle)


def endless(bundle: Path) -> None:
    (bundle / "tokenizer").mkdir(exist_ok=True)
    template = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    (bundle / "tokenizer" / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
    list_again(bundle)


def forgetful(bundle: Path) -> None:
    (bundle / "tokenizer").mkdir(exist_ok=True)
    template = "{% for m in messages[-1:] %}{{ m.content }}{% endfor %}"
    (bundle / "tokenizer" / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
    list_again(bundle)


def lost_end(bundle: Path) -> None:
    (bundle / "tokenizer").mkdir(exist_ok=True)
    (bundle / "tokenizer" / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 106]}))
    list_again(bundle)


def canary(bundle: Path) -> None:
    text = shipped("calibration").read_text("utf-8")
    path = bundle / "artifact" / "null.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "note": text[3000:4500]}))
    list_again(bundle)


def canary_in(encode: Callable[[str], bytes]) -> Plant:
    def plant(bundle: Path) -> None:
        text = shipped("calibration").read_text("utf-8")
        (bundle / "artifact" / "more.bin").write_bytes(b"?" + encode(text[3000:6000]) + b"?")
        list_again(bundle)

    return plant


def ids_in(encode: Callable[[list[int]], bytes], name: str = "more.bin") -> Plant:
    """The ids of the calibration text, which are its bytes with the null backend's tokenizer, in some file."""

    def plant(bundle: Path) -> None:
        ids = list(shipped("calibration").read_bytes()[3000:9000])
        (bundle / "artifact" / name).write_bytes(encode(ids))
        list_again(bundle)

    return plant


def packed_ids(ids: list[int]) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, ids=np.array(ids, np.int64))
    return file.getvalue()


def larger(bundle: Path) -> None:
    (bundle / "artifact" / "more.txt").write_bytes(b"x" * 100_000)
    list_again(bundle)


def writable(bundle: Path) -> None:
    (bundle / "artifact" / "null.json").chmod(0o666)


def linked(bundle: Path) -> None:
    (bundle / "artifact" / "link").symlink_to("/etc/passwd")


def executable(bundle: Path) -> None:
    (bundle / "report.html").chmod(0o755)


def changed(bundle: Path) -> None:
    (bundle / "report.html").write_text("nothing")


def no_notices(bundle: Path) -> None:
    for path in (bundle / "notices").iterdir():
        path.unlink()
    list_again(bundle)


def no_card(bundle: Path) -> None:
    (bundle / "notices" / "README.md").unlink()
    list_again(bundle)


def no_script(bundle: Path) -> None:
    (bundle / "reproduce.sh").write_text("#!/bin/sh\n")
    list_again(bundle)


CANARY = "qZ7!xW2?vK9;pL4-jG6=bN8/hD3"
