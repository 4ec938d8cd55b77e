"""Run an original encoder-decoder with transformers: the encoder once, the decoder with its cache (worker side)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.shared.encoder_decoder import EncoderDecoderSession
from edgehone.model.encoder_decoder import SPEECH

if TYPE_CHECKING:
    from numpy.typing import NDArray


class TorchParts:
    """The `Parts` of a model of transformers."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._fed: dict[str, Any] = {}

    def begin(self, source: Mapping[str, NDArray[Any]]) -> None:
        """Run the encoder, and forget the tokens so far."""
        import torch
        from transformers import DynamicCache, EncoderDecoderCache

        tensors = {name: self._typed(torch.from_numpy(array)) for name, array in source.items()}
        with torch.inference_mode():
            encoded = self._model.get_encoder()(**tensors)
        self._fed = {
            "encoder_outputs": encoded,
            "past_key_values": EncoderDecoderCache(DynamicCache(), DynamicCache()),
        }
        if "attention_mask" in tensors:
            self._fed["attention_mask"] = tensors["attention_mask"]

    def step(self, ids: NDArray[Any]) -> NDArray[Any]:
        """Return the logits after the next ids."""
        import numpy as np
        import torch

        with torch.inference_mode():
            logits = self._model(decoder_input_ids=torch.from_numpy(ids), use_cache=True, **self._fed).logits
        return np.asarray(logits.float().numpy(), np.float32)

    def close(self) -> None:
        """Free the weights."""
        self._fed.clear()
        del self._model

    def _typed(self, tensor: Any) -> Any:
        return tensor.to(self._model.dtype) if tensor.is_floating_point() else tensor


def open_session(folder: Path, task: str, dtype: str) -> EncoderDecoderSession:
    """Load a checkpoint of `task`, one of `model.encoder_decoder.TASKS`. Raises ModelError if it cannot be loaded."""
    import transformers

    from edgehone.backends.pytorch.weights import load_weights

    speech = transformers.AutoModelForSpeechSeq2Seq
    auto = speech if task == SPEECH else transformers.AutoModelForSeq2SeqLM
    return EncoderDecoderSession(TorchParts(load_weights(auto, folder, dtype)))
