"""Make a Llama of any size with random weights, for measurements that depend on size only.

A Hugging Face folder in bfloat16 with the demo model's tokenizer. Speed, memory and size of its builds are
those of a trained model of its shape; its output is noise, so accuracy gates are meaningless. Needs numpy only; a
quarter of a billion parameters take some ten seconds::

    python examples/make_random_llama.py --out random-llama               # 264 million parameters
    python examples/make_random_llama.py --out small --layers 4
    python examples/make_random_llama.py --out large --layers 21 --hidden 2048    # a billion
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

TOKENIZER = Path(__file__).resolve().parents[1] / "src" / "edgehone" / "data" / "demo-model"
VOCABULARY, HEAD, HIDDEN = 2048, 64, 1024
SEED = 20240601


def make(out: Path, layers: int = 22, hidden: int = HIDDEN) -> Path:
    """Write the folder and return it. `hidden` is a multiple of 128: heads have 64 channels, two share a key."""
    heads, intermediate = hidden // HEAD, round(2.75 * hidden / 256) * 256
    out.mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer.model", "tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(TOKENIZER / name, out / name)
    config = {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "torch_dtype": "bfloat16",
        "vocab_size": VOCABULARY, "hidden_size": hidden, "intermediate_size": intermediate,
        "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": heads // 2,
        "head_dim": HEAD, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "hidden_act": "silu", "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2,
    }  # fmt: skip
    (out / "config.json").write_text(json.dumps(config, indent=1), "utf-8")
    shapes = dict(_shapes(layers, hidden, intermediate))
    header, at = {}, 0
    for name, shape in shapes.items():
        size = 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps({**header, "__metadata__": {"format": "pt"}}).encode()
    random = np.random.default_rng(SEED)
    with (out / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for shape in shapes.values():
            file.write(_tensor(random, shape))
    return out


def _shapes(layers: int, hidden: int, intermediate: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "model.embed_tokens.weight", (VOCABULARY, hidden)
    for layer in range(layers):
        place = f"model.layers.{layer}"
        for name, rows in (("q", hidden), ("k", hidden // 2), ("v", hidden // 2)):
            yield f"{place}.self_attn.{name}_proj.weight", (rows, hidden)
        yield f"{place}.self_attn.o_proj.weight", (hidden, hidden)
        yield f"{place}.mlp.gate_proj.weight", (intermediate, hidden)
        yield f"{place}.mlp.up_proj.weight", (intermediate, hidden)
        yield f"{place}.mlp.down_proj.weight", (hidden, intermediate)
        yield f"{place}.input_layernorm.weight", (hidden,)
        yield f"{place}.post_attention_layernorm.weight", (hidden,)
    yield "model.norm.weight", (hidden,)
    yield "lm_head.weight", (VOCABULARY, hidden)


def _tensor(random: np.random.Generator, shape: tuple[int, ...]) -> bytes:
    """Return ones for a norm, else normal numbers scaled to preserve the variance of activations, as bfloat16."""
    if len(shape) == 1:
        values = np.ones(shape, np.float32)
    else:
        values = random.standard_normal(shape, np.float32) * np.float32(shape[1] ** -0.5)
    return (values.view(np.uint32) >> 16).astype(np.uint16).tobytes()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--layers", type=int, default=22)
    parser.add_argument("--hidden", type=int, default=HIDDEN)
    given = parser.parse_args()
    print(make(given.out, given.layers, given.hidden))
