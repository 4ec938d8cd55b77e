"""Which checkpoints of language models a converter accepts, as far as their headers tell."""

from __future__ import annotations

from edgehone.model.info import ModelInfo


def language_model_refusals(model: ModelInfo, converts: str, unknown: str | None) -> list[str]:
    """Return why a converter cannot take a checkpoint of a language model; an empty list if it can.

    `converts` begins the sentence about formats, such as "mlx-lm converts"; `unknown` says that the converter does not
    know the model type, None if it does.
    """
    refusals = []
    if model.format != "huggingface":
        refusals.append(f"{converts} Hugging Face folders, not '{model.format}'")
    if model.task not in ("text-generation", "unknown"):
        refusals.append(f"only text generation can be scored, not '{model.task}'")
    if model.remote_code:
        refusals.append("the model needs custom code, which is never run")
    elif unknown:
        refusals.append(unknown)
    if model.quantized:
        refusals.append(f"already quantized ({model.quantized}): give the unquantized original")
    return refusals
