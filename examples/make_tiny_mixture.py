"""Make a mixture of experts from the demo model, to test compression on a trained mixture.

Each feed-forward network becomes several experts, which are copies of it with a little noise, behind a random router
(Komatsuzaki et al., "Sparse Upcycling", 2022, arXiv:2212.05055, without the training after). So the mixture generates
text as the demo model does, its experts differ, and some are rarely used. Needs torch and transformers 5; seconds on
one core::

    python examples/make_tiny_mixture.py --out tiny-mixture
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, MixtralConfig, MixtralForCausalLM

DEMO = Path(__file__).resolve().parents[1] / "src" / "edgehone" / "data" / "demo-model"
EXPERTS, CHOSEN = 8, 2
ASTRAY = 0.2  # standard deviation of what is multiplied to each weight, about 1
DECISIVE = 0.2  # standard deviation of the routers' weights; hidden states after the norm are about 1


def make(folder: Path, seed: int = 0) -> Path:
    """Write the mixture in bfloat16 and return the folder."""
    torch.manual_seed(seed)
    dense = AutoModelForCausalLM.from_pretrained(DEMO, dtype=torch.float32)
    known = dense.config.to_dict()
    names = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
             "num_key_value_heads", "head_dim", "max_position_embeddings", "rms_norm_eps", "rope_parameters",
             "tie_word_embeddings", "bos_token_id", "eos_token_id")  # fmt: skip
    config = MixtralConfig(
        **{name: known[name] for name in names}, num_local_experts=EXPERTS, num_experts_per_tok=CHOSEN
    )
    mixture = MixtralForCausalLM(config)
    told = mixture.load_state_dict(dense.state_dict(), strict=False)
    assert all(".mlp." in name for name in [*told.missing_keys, *told.unexpected_keys])
    with torch.no_grad():
        for block, source in zip(mixture.model.layers, dense.model.layers, strict=True):
            block.mlp.gate.weight.normal_(0, DECISIVE)
            up = torch.cat([source.mlp.gate_proj.weight, source.mlp.up_proj.weight])
            for expert in range(EXPERTS):
                block.mlp.experts.gate_up_proj[expert] = _astray(up)
                block.mlp.experts.down_proj[expert] = _astray(source.mlp.down_proj.weight)
    folder.mkdir(parents=True, exist_ok=True)
    mixture.to(torch.bfloat16).save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    for path in DEMO.glob("tokenizer*"):
        shutil.copyfile(path, folder / path.name)
    return folder


def _astray(weight: torch.Tensor) -> torch.Tensor:
    return weight * (1 + ASTRAY * torch.randn_like(weight))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to write the model to")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: %(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(make(args.out, args.seed))


if __name__ == "__main__":
    main()
