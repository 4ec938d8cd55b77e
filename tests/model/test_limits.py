"""A number in a model's files must not decide how much memory or time reading them takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from edgehone.model.config import LAYERS_LIMIT, NAMES
from tests.model.conftest import CONFIG, write_weights
from tests.model.test_gguf import keys, write

# Within the limit of positive integers, and far beyond any list that fits into memory.
HUGE = 2**38
CONFIG_KEYS = sorted({
    *(names[0] for names in NAMES.values()), "sliding_window", "sliding_window_pattern", "full_attention_interval",
    "attn_layer_period", "attn_layer_offset", "num_kv_shared_layers", "max_window_layers", "first_k_dense_replace",
    "decoder_sparse_step", "moe_layer_end_index", "num_labels", "global_head_dim",
})  # fmt: skip
GGUF_KEYS = (
    "block_count", "embedding_length", "feed_forward_length", "attention.head_count", "attention.head_count_kv",
    "context_length", "expert_count", "expert_used_count", "attention.sliding_window", "full_attention_interval",
    "attention.sliding_window_pattern", "attention.shared_kv_layers", "ssm.state_size", "attention.key_length",
)  # fmt: skip
# 2 GiB are enough to import and to read; the processor time ends a loop over the number.
CHILD = """
import resource, sys
resource.setrlimit(resource.RLIMIT_DATA, (2 << 30, 2 << 30))
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
from edgehone.core.errors import ModelError
from edgehone.model.inspect import inspect
for path in sys.argv[1:]:
    try:
        inspect(path)
    except ModelError as error:
        print(error.message)
"""


def inspected(paths: list[Path]) -> list[str]:
    """Inspect the models in a process with limits, and return the messages of those that are refused."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    words = [sys.executable, "-c", CHILD, *map(str, paths)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs limits of the system")
def test_a_huge_number_in_a_config(tmp_path: Path) -> None:
    def model(name: str, changes: Mapping[str, Any]) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({**CONFIG, **changes}))
        (folder / "tokenizer.json").write_text('{"model": {"type": "BPE", "vocab": {}, "merges": []}}')
        write_weights(folder / "model.safetensors")
        return folder

    experts = {"num_local_experts": 8, "num_experts_per_tok": 2}
    paths = [model(key, {key: HUGE}) for key in CONFIG_KEYS]
    paths += [model(f"{key} and experts", {**experts, key: HUGE}) for key in CONFIG_KEYS]
    refused = inspected(paths)
    limit = f"num_hidden_layers is {HUGE}, above the limit of {LAYERS_LIMIT} layers"
    assert sum(limit in message for message in refused) == 2


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs limits of the system")
def test_a_huge_number_in_a_gguf_file(tmp_path: Path) -> None:
    paths = []
    for key in GGUF_KEYS:
        paths.append(tmp_path / f"{key}.gguf")
        write(paths[-1], {**keys(), f"llama.{key}": HUGE})
    refused = inspected(paths)
    limit = f"llama.block_count is {HUGE}, above the limit of {LAYERS_LIMIT} layers"
    assert sum(limit in message for message in refused) == 1
