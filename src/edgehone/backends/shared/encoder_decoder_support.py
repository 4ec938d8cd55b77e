"""Which encoder-decoders (Whisper, T5) a backend takes that exports them from checkpoints (core side)."""

from __future__ import annotations

from edgehone.model.info import ModelInfo

# Families whose export by each backend was compared with transformers.
VERIFIED = ("whisper", "t5")


def refusals(model: ModelInfo) -> list[str]:
    """Return why an encoder-decoder is not exported; an empty list if it is."""
    reasons = []
    if model.model_type not in VERIFIED:
        reasons.append(
            f"of encoder-decoders only {' and '.join(VERIFIED)} were verified, not '{model.model_type}'"
        )
    if model.remote_code:
        reasons.append("the model needs custom code, which is never run")
    if model.quantized:
        reasons.append(f"already quantized ({model.quantized}): give the unquantized original")
    return reasons
