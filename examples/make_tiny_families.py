"""Make tiny checkpoints of the common families of language models, with random weights and a working tokenizer.

Each is a Hugging Face folder of some hundred kilobytes, to test toolchains with an architecture.
The weights are drawn wider than for training, so that a wrong rotary base, norm or router shows in the logits.
Needs torch and transformers 5 with sentencepiece and protobuf; a few seconds on one core::

    python examples/make_tiny_families.py --out tiny            # all families
    python examples/make_tiny_families.py --out tiny mixtral    # one
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

TOKENIZER = Path(__file__).resolve().parents[1] / "src" / "edgehone" / "data" / "demo-model"
VOCABULARY, BOS, EOS = 2048, 1, 2
# One over the square root of the hidden size, which preserves the variance of activations.
SPREAD = 0.088

COMMON: Mapping[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 4,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "max_position_embeddings": 512,
    "bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": None, "initializer_range": SPREAD,
}  # fmt: skip
_MIXTURE: Mapping[str, Any] = {"moe_intermediate_size": 128, "num_experts": 8, "num_experts_per_tok": 2}

# Each family's configuration beyond COMMON. The keys are transformers' model types, some with a variant.
FAMILIES: Mapping[str, Mapping[str, Any]] = {
    "llama": {},
    "mistral": {"sliding_window": None},
    "mistral-windowed": {"sliding_window": 64},
    "qwen2": {},
    "qwen3": {},
    # Equal to the context, else the model would have a long and a short rotary base.
    "phi3": {"pad_token_id": 0, "original_max_position_embeddings": 512},
    "gemma": {"tie_word_embeddings": True},
    "gemma2": {"tie_word_embeddings": True, "sliding_window": 64, "query_pre_attn_scalar": 32},
    # Six layers: every sixth has full attention.
    "gemma3_text": {
        "tie_word_embeddings": True, "sliding_window": 64, "query_pre_attn_scalar": 32, "num_hidden_layers": 6,
    },
    "gpt2": {},
    "mixtral": {"num_local_experts": 8, "num_experts_per_tok": 2},
    "qwen2_moe": {**_MIXTURE, "shared_expert_intermediate_size": 128},
    "qwen3_moe": {**_MIXTURE, "norm_topk_prob": True},
}  # fmt: skip
# llama.cpp assumes that tokenizer's special tokens for any model whose name contains phi3.
FOLDERS: Mapping[str, str] = {"phi3": "phi-three"}
# Trained routers separate experts clearly; with random routers rounding alone would change the choice of experts.
DECISIVE = 8.0
# These families add no space before a text.
NO_SPACE_IN_FRONT = ("gemma", "gemma2", "gemma3_text")


def make(family: str, folder: Path, *, seed: int = 0, **changes: Any) -> Path:
    """Write one family's checkpoint in bfloat16, with `changes` applied to its configuration. Return the folder."""
    torch.manual_seed(seed)
    config = AutoConfig.for_model(family.partition("-")[0], **{**COMMON, **FAMILIES[family], **changes})
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("mlp.gate.weight"):
                weight *= DECISIVE
    folder.mkdir(parents=True, exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    if family == "gpt2":
        name_as_published(folder)
    write_tokenizer(folder, space_in_front=family not in NO_SPACE_IN_FRONT)
    return folder


def name_as_published(folder: Path) -> None:
    """Give a GPT-2 the names of the public checkpoint, which lack a prefix, and the masks that it stores."""
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    tensors = {name.removeprefix("transformer."): tensor for name, tensor in load_file(path).items()}
    length = COMMON["max_position_embeddings"]
    mask = torch.tril(torch.ones(length, length)).view(1, 1, length, length)
    blocks = {name.split(".")[1] for name in tensors if name.startswith("h.")}
    masks = {f"h.{block}.attn.bias": mask.clone() for block in blocks}
    save_file({**tensors, **masks}, path, metadata={"format": "pt"})


def write_tokenizer(folder: Path, *, space_in_front: bool) -> None:
    """Return the demo model's SentencePiece tokenizer, unchanged or without the space before a text."""
    for name in ("tokenizer.model", "tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(TOKENIZER / name, folder / name)
    if space_in_front:
        return
    from sentencepiece import sentencepiece_model_pb2

    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString((folder / "tokenizer.model").read_bytes())
    model.normalizer_spec.add_dummy_prefix = False
    (folder / "tokenizer.model").write_bytes(model.SerializeToString())
    fast = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    fast["normalizer"]["normalizers"] = [
        step for step in fast["normalizer"]["normalizers"] if step["type"] != "Prepend"
    ]
    # The decoder step that removes the leading space.
    fast["decoder"]["decoders"] = [step for step in fast["decoder"]["decoders"] if step["type"] != "Strip"]
    (folder / "tokenizer.json").write_text(json.dumps(fast, ensure_ascii=False), "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("families", nargs="*", choices=[*FAMILIES, []], help="which (default: all)")
    parser.add_argument("--out", type=Path, required=True, help="folder to write one folder each into")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: %(default)s)")
    parser.add_argument("--layers", type=int, help="blocks (default: the family's own few)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    changes = {"num_hidden_layers": args.layers} if args.layers else {}
    for family in args.families or FAMILIES:
        folder = make(family, args.out / FOLDERS.get(family, family), seed=args.seed, **changes)
        size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
        print(f"{folder}: {size / 1e6:.1f} MB of weights")


if __name__ == "__main__":
    main()
