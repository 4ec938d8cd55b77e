"""Multi-modal language models in a Hugging Face folder: task and parts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgehone.model.config import NAMES, read_object

PARTS = ("text_config", "llm_config", "language_config")
# Vision-language models whose architecture is named like a language model's.
_CAUSAL = ("Phi4MultimodalForCausalLM",)
_ENCODERS = ("vision_config", "visual", "audio_config", "speech_config", "video_config")


def task(folder: Path, config: Mapping[str, Any], architecture: str) -> tuple[str, list[str]] | None:
    """Return the task and notes of a multi-modal model, or None if config.json describes only a language model."""
    parts = {name: config[name] for name in (*PARTS, *_ENCODERS) if isinstance(config.get(name), dict)}
    generates = architecture.endswith("ForConditionalGeneration") or architecture in _CAUSAL
    if not parts.keys() & set(PARTS) and not (parts and generates):
        return None
    notes = ["multimodal: the sizes are those of its language model"]
    notes.append("parts: " + ", ".join(_part(name, part) for name, part in parts.items()))
    language: Mapping[str, Any] = next((parts[name] for name in PARTS if name in parts), {})
    if config.get("is_encoder_decoder") is True or language.get("is_encoder_decoder") is True:
        return "unknown", ["an encoder-decoder, not a causal language model", *notes]
    if "vision_config" not in parts or not generates:
        return "unknown", notes
    if not _image_processor(folder):
        return "unknown", [*notes, "no image processor (preprocessor_config.json): it cannot process images"]
    return "image-text-to-text", notes


def _part(name: str, part: Mapping[str, Any]) -> str:
    layers = next((part[field] for field in (*NAMES["layers"], "depth") if field in part), None)
    known = [str(part["model_type"])] if part.get("model_type") else []
    known += [f"{layers} layers"] if isinstance(layers, int) else []
    return name.removesuffix("_config") + (f" ({', '.join(known)})" if known else "")


def _image_processor(folder: Path) -> bool:
    for name in ("preprocessor_config.json", "processor_config.json"):
        if (folder / name).is_file():
            stated = read_object(folder / name)
            if {"image_processor_type", "image_processor", "image_mean", "image_size"} & stated.keys():
                return True
    return False
