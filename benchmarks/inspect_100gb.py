"""Time and memory of `inspect` for a sharded checkpoint of 100 GB. The limits are 1 s and 200 MB.

    python benchmarks/inspect_100gb.py

Makes a model of sparse files (no room on the disk is used) with 20 shards of 5 GB, a thousand tensors each,
and a tokenizer.json as large as those of the largest vocabularies (256,000 tokens, 580,000 merges), then
inspects it in a fresh process.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

SHARDS, TENSORS, SHAPE = 20, 1000, (2_500, 1_000)  # x 2 bytes = 100 GB
VOCABULARY, MERGES = 256_000, 580_000
CHILD = """
import resource, sys, time
start = time.perf_counter()
from edgehone.model.inspect import inspect
loaded = time.perf_counter()
info = inspect(sys.argv[1])
done = time.perf_counter()
scale = 1 if sys.platform == "darwin" else 1024
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale
if sys.platform.startswith("linux"):  # a child's maximum starts at its parent's: read its own
    status = open("/proc/self/status").read()
    peak = int(status.split("VmHWM:")[1].split()[0]) * 1024
print(f"{info.parameters:,} parameters, {info.bytes / 1e9:.1f} GB, tokenizer {info.tokenizer}")
print(f"import {loaded - start:.3f} s, inspect {done - loaded:.3f} s, peak memory {peak / 1e6:.0f} MB")
"""


def make_shard(path: Path, names: list[str]) -> None:
    """Write a shard with a complete header and sparse data."""
    size = math.prod(SHAPE) * 2
    entries = {
        name: {"dtype": "BF16", "shape": SHAPE, "data_offsets": [place * size, (place + 1) * size]}
        for place, name in enumerate(names)
    }
    header = json.dumps(entries).encode()
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
    os.truncate(path, 8 + len(header) + size * len(names))


def make_model(folder: Path) -> None:
    """Write configuration, index, shards and tokenizer."""
    sizes = {
        "num_hidden_layers": 80,
        "hidden_size": 8192,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
    }
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": VOCABULARY, **sizes}
    (folder / "config.json").write_text(json.dumps(config))
    weight_map = {}
    for number in range(SHARDS):
        shard = f"model-{number + 1:05}-of-{SHARDS:05}.safetensors"
        names = [f"model.layers.{number}.mlp.experts.{expert}.down_proj.weight" for expert in range(TENSORS)]
        make_shard(folder / shard, names)
        weight_map.update(dict.fromkeys(names, shard))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    vocabulary = {f"{chr(0x4E00 + token % 20_000)}😀{token}": token for token in range(VOCABULARY)}
    merges = [[f"left{merge}", f"right{merge}"] for merge in range(MERGES)]
    described = {"added_tokens": [], "model": {"type": "BPE", "vocab": vocabulary, "merges": merges}}
    (folder / "tokenizer.json").write_text(json.dumps(described, ensure_ascii=False), encoding="utf-8")


def main() -> None:
    """Make the model, inspect it in a child, print seconds and megabytes."""
    with tempfile.TemporaryDirectory() as name:
        make_model(Path(name))
        tokenizer = (Path(name) / "tokenizer.json").stat().st_size
        print(f"{SHARDS} shards, {SHARDS * TENSORS:,} tensors, tokenizer.json of {tokenizer / 1e6:.0f} MB")
        subprocess.run([sys.executable, "-c", CHILD, name], check=True)


if __name__ == "__main__":
    main()
