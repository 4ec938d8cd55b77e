"""Make a tiny LLaVA with a CLIP or SigLIP encoder: random weights, working tokenizer and image processor.

A Hugging Face folder of some hundred kilobytes, to test toolchains with a vision-language model. The weights are drawn
wide, so that the picture influences the answer. Needs torch, pillow and transformers 5; seconds on
one core::

    python examples/make_tiny_multimodal.py --out tiny-llava --vision siglip
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoTokenizer,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    SiglipVisionConfig,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

TOKENIZER = Path(__file__).resolve().parents[1] / "src" / "edgehone" / "data" / "demo-model"
# The tokenizer's 2,048 entries plus the picture token, rounded up.
VOCABULARY, IMAGE, BOS, EOS = 2112, 2048, 1, 2
SIZE, PATCH = 56, 14
ENCODER: Mapping[str, Any] = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4,
    "image_size": SIZE, "patch_size": PATCH,
}  # fmt: skip
LANGUAGE = LlamaConfig(
    vocab_size=VOCABULARY, hidden_size=128, intermediate_size=256, num_hidden_layers=4, num_attention_heads=4,
    num_key_value_heads=2, head_dim=32, max_position_embeddings=512, bos_token_id=BOS, eos_token_id=EOS,
    initializer_range=0.088,
)  # fmt: skip
# Wide enough for the encoder's output to influence the language model's logits.
SPREADS = {"vision_tower": 0.15, "multi_modal_projector": 0.12}


def make(folder: Path, *, vision: str = "siglip", seed: int = 0) -> Path:
    """Write the checkpoint in bfloat16 with its tokenizer and processor. Return the folder."""
    torch.manual_seed(seed)
    clip = vision == "clip"
    # CLIP adds a class token before the patches, which LLaVA drops; SigLIP has none.
    strategy = "default" if clip else "full"
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**ENCODER, projection_dim=64)
        if clip
        else SiglipVisionConfig(**ENCODER),
        text_config=LANGUAGE,
        image_token_index=IMAGE,
        vision_feature_layer=-2,
        vision_feature_select_strategy=strategy,
        image_seq_length=(SIZE // PATCH) ** 2,
    )
    model = LlavaForConditionalGeneration(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            for part, spread in SPREADS.items():
                if part in name and weight.ndim > 1:
                    weight.normal_(0, spread)
    folder.mkdir(parents=True, exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    for name in ("tokenizer.model", "tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(TOKENIZER / name, folder / name)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    square = {"height": SIZE, "width": SIZE}
    images = (
        CLIPImageProcessorPil(size={"shortest_edge": SIZE}, crop_size=square)
        if clip
        else SiglipImageProcessorPil(size=square)
    )
    processor = LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy=strategy,
        num_additional_image_tokens=int(clip),
    )
    processor.save_pretrained(folder)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument(
        "--vision", choices=("clip", "siglip"), default="siglip", help="its encoder (default: siglip)"
    )
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: %(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    folder = make(args.out, vision=args.vision, seed=args.seed)
    print(
        f"{folder}: {sum(path.stat().st_size for path in folder.glob('*.safetensors')) / 1e6:.1f} MB of weights"
    )


if __name__ == "__main__":
    main()
