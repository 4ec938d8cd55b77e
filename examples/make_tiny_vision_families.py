"""Make tiny vision-language models of families that put pictures into prompts in ways of their own.

A Hugging Face folder of two megabytes with random weights, a working tokenizer, image processor and chat template,
as published checkpoints have them. The weights are drawn wide, so that the picture influences the answer.
`make_tiny_multimodal.py` makes a LLaVA. Needs torch, pillow and transformers 5; seconds on one core::

    python examples/make_tiny_vision_families.py --family gemma3 --out tiny-gemma3

Positions in three dimensions: qwen2_vl, qwen2_5_vl. A mask of their own for pictures: gemma3. Pictures cut into
several: idefics3 (the first SmolVLM is one) and smolvlm (the second).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from make_tiny_families import write_tokenizer
from transformers import AutoModelForImageTextToText, AutoTokenizer

# The tokenizer's 2,048 entries plus those that a family adds for pictures, rounded up.
VOCABULARY, FIRST_ADDED, BOS, EOS = 2112, 2048, 1, 2
LANGUAGE: Mapping[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 4,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 1024, "bos_token_id": BOS,
    "eos_token_id": EOS, "pad_token_id": EOS, "initializer_range": 0.088,
}  # fmt: skip
SIGLIP: Mapping[str, Any] = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4, "patch_size": 14,
}  # fmt: skip
# Wide enough for the encoder's output to influence the language model's logits.
WIDE = {
    "visual": 0.12,
    "vision_tower": 0.15,
    "vision_model": 0.15,
    "multi_modal_projector": 0.15,
    "connector": 0.12,
}
QWEN_TOKENS = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
# Families without the space that others put before a text.
NO_SPACE_IN_FRONT = ("gemma3", "idefics3", "smolvlm")
GEMMA_TOKENS = ("<start_of_image>", "<end_of_image>", "<image_soft_token>")
SPLITS = tuple(f"<row_{row}_col_{column}>" for row in (1, 2, 3, 4) for column in (1, 2, 3, 4))
# llama.cpp looks for a token of two line breaks, which published tokenizers have; a single one is a byte here.
IDEFICS_TOKENS = (
    "<image>",
    "<fake_token_around_image>",
    "<global-img>",
    "<end_of_utterance>",
    *SPLITS,
    "\n\n",
)
_TURNS = "{% for m in messages %}{{ m.role }}: {% if m.content is string %}{{ m.content }}{% else %}"
_PARTS = (
    "{% for c in m.content %}{% if c.type == 'image' %}PICTURE{% else %}{{ c.text }}{% endif %}{% endfor %}"
)
_END = "{% endif %}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
TEMPLATE = _TURNS + _PARTS + _END


@dataclass(frozen=True)
class Family:
    """Its tokens for pictures, what stands for a picture in a prompt, its config, and preprocessor_config.json."""

    tokens: tuple[str, ...]
    picture: str
    config: Callable[[Mapping[str, int]], Any]
    preprocessor: Mapping[str, Any]
    processor: Mapping[str, Any] | None = None


def _qwen2_vl(ids: Mapping[str, int]) -> Any:
    vision = {
        "depth": 3,
        "embed_dim": 64,
        "hidden_size": 128,
        "num_heads": 4,
        "mlp_ratio": 2,
        "patch_size": 14,
    }
    return transformers.Qwen2VLConfig(text_config=_qwen_text(), vision_config=vision, **_qwen_ids(ids))


def _qwen2_5_vl(ids: Mapping[str, int]) -> Any:
    vision = {"depth": 4, "hidden_size": 64, "intermediate_size": 128, "num_heads": 4, "patch_size": 14}
    # Windows of 8 x 8 patches, the only size that llama.cpp knows, and every second block without windows.
    windows = {"window_size": 112, "fullatt_block_indexes": [1, 3], "out_hidden_size": 128}
    return transformers.Qwen2_5_VLConfig(
        text_config=_qwen_text(), vision_config={**vision, **windows}, **_qwen_ids(ids)
    )


def _qwen_text() -> dict[str, Any]:
    rope = {"rope_type": "default", "mrope_section": [4, 6, 6], "rope_theta": 10_000.0}
    return {**LANGUAGE, "rope_parameters": rope, "use_sliding_window": False}


def _qwen_ids(ids: Mapping[str, int]) -> dict[str, Any]:
    names = ("vision_start_token_id", "vision_end_token_id", "image_token_id", "video_token_id")
    return {**dict(zip(names, map(ids.__getitem__, QWEN_TOKENS), strict=True)), "tie_word_embeddings": False}


def _gemma3(ids: Mapping[str, int]) -> Any:
    text = {**LANGUAGE, "head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": 512}
    begin, end, image = (ids[token] for token in GEMMA_TOKENS)
    return transformers.Gemma3Config(
        text_config=text, vision_config={**SIGLIP, "image_size": 112}, mm_tokens_per_image=4, boi_token_index=begin,
        eoi_token_index=end, image_token_index=image,
    )  # fmt: skip


def _idefics3(ids: Mapping[str, int]) -> Any:
    text = {**LANGUAGE, "head_dim": 32, "model_type": "llama"}
    vision = {**SIGLIP, "image_size": 56}
    return transformers.Idefics3Config(
        text_config=text, vision_config=vision, scale_factor=2, image_token_id=ids["<image>"]
    )


def _smolvlm(ids: Mapping[str, int]) -> Any:
    text = {**LANGUAGE, "head_dim": 32, "model_type": "llama"}
    vision = {**SIGLIP, "image_size": 56}
    return transformers.SmolVLMConfig(
        text_config=text, vision_config=vision, scale_factor=2, image_token_id=ids["<image>"]
    )


_HALVES = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
_QWEN_PICTURES = {
    "image_processor_type": "Qwen2VLImageProcessor", "min_pixels": 3136, "max_pixels": 200_704, "patch_size": 14,
    "temporal_patch_size": 2, "merge_size": 2,
    "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711],
}  # fmt: skip
_IDEFICS_PICTURES = {
    "do_image_splitting": True, "size": {"longest_edge": 112}, "max_image_size": {"longest_edge": 56},
    "resample": 1, **_HALVES,
}  # fmt: skip
FAMILIES: Mapping[str, Family] = {
    "qwen2_vl": Family(
        QWEN_TOKENS,
        "<|vision_start|><|image_pad|><|vision_end|>",
        _qwen2_vl,
        {**_QWEN_PICTURES, "processor_class": "Qwen2VLProcessor"},
    ),
    "qwen2_5_vl": Family(
        QWEN_TOKENS,
        "<|vision_start|><|image_pad|><|vision_end|>",
        _qwen2_5_vl,
        {**_QWEN_PICTURES, "processor_class": "Qwen2_5_VLProcessor"},
    ),
    "gemma3": Family(
        GEMMA_TOKENS,
        "<start_of_image>",
        _gemma3,
        {
            "image_processor_type": "Gemma3ImageProcessor", "processor_class": "Gemma3Processor",
            "image_seq_length": 4, "size": {"height": 112, "width": 112}, "resample": 2, **_HALVES,
        },
        {"processor_class": "Gemma3Processor", "image_seq_length": 4},
    ),
    "idefics3": Family(
        IDEFICS_TOKENS,
        "<image>",
        _idefics3,
        {"image_processor_type": "Idefics3ImageProcessor", "processor_class": "Idefics3Processor", **_IDEFICS_PICTURES},
        {"processor_class": "Idefics3Processor", "image_seq_len": 4},
    ),
    "smolvlm": Family(
        IDEFICS_TOKENS,
        "<image>",
        _smolvlm,
        {"image_processor_type": "SmolVLMImageProcessor", "processor_class": "SmolVLMProcessor", **_IDEFICS_PICTURES},
        {"processor_class": "SmolVLMProcessor", "image_seq_len": 4},
    ),
}  # fmt: skip


def make(folder: Path, family: str, *, seed: int = 0) -> Path:
    """Write the checkpoint in bfloat16 with its tokenizer and processor. Return the folder."""
    torch.manual_seed(seed)
    chosen = FAMILIES[family]
    ids = {token: FIRST_ADDED + index for index, token in enumerate(chosen.tokens)}
    model = AutoModelForImageTextToText.from_config(chosen.config(ids))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            spread = next((spread for part, spread in WIDE.items() if part in name), None)
            if spread is not None and weight.ndim > 1:
                weight.normal_(0, spread)
    folder.mkdir(parents=True, exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    write_tokenizer(folder, space_in_front=family not in NO_SPACE_IN_FRONT)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": list(chosen.tokens)})
    if family == "gemma3":
        for name, token in zip(("boi_token", "eoi_token", "image_token"), GEMMA_TOKENS, strict=True):
            tokenizer.init_kwargs[name] = token
            setattr(tokenizer, name, token)
    tokenizer.save_pretrained(folder)
    if family in NO_SPACE_IN_FRONT:
        _state(folder / "tokenizer_config.json", "add_prefix_space", False)
    _write(folder / "added_tokens.json", ids)  # llama.cpp's converter takes their names from it
    (folder / "chat_template.jinja").write_text(TEMPLATE.replace("PICTURE", chosen.picture), "utf-8")
    _write(folder / "preprocessor_config.json", chosen.preprocessor)
    if chosen.processor is not None:
        _write(folder / "processor_config.json", chosen.processor)
    return folder


def _state(path: Path, name: str, value: Any) -> None:
    _write(path, {**json.loads(path.read_text("utf-8")), name: value})


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--family", choices=tuple(FAMILIES), required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: %(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    folder = make(args.out, args.family, seed=args.seed)
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    print(f"{folder}: {size / 1e6:.1f} MB of weights")


if __name__ == "__main__":
    main()
