"""Export the parts of an encoder-decoder of transformers to ONNX (worker side)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

_OPSET = 18
# Sizes of the example that is exported, all different and above 1, which the exporter takes for fixed.
_BATCH, _SOURCE, _PAST, _TOKENS = 2, 7, 5, 3


def export_parts(model: Any, encoder: Path, decoder: Path) -> None:
    """Write both graphs with free sizes of the batch, the tokens and, for a text, the source."""
    import torch

    config, free = model.config, torch.export.Dim.DYNAMIC
    speech = config.model_type == "whisper"
    layers = config.decoder_layers if speech else config.num_decoder_layers
    names = [f"{{}}_{kind}_{at}" for at in range(layers) for kind in ("key", "value")]
    cross, past, present = ([name.format(what) for name in names] for what in ("cross", "past", "present"))
    if speech:
        example: tuple[Any, ...] = (
            torch.randn(_BATCH, config.num_mel_bins, 2 * config.max_source_positions),
        )
        shapes: tuple[Any, ...] = ({0: free},)
        inputs = ["input_features"]
    else:
        example = tuple(torch.ones(_BATCH, _SOURCE, dtype=torch.int64) for _ in range(2))
        shapes = ({0: free, 1: free},) * 2
        inputs = ["input_ids", "attention_mask"]
    module = _encoder(model)
    with torch.no_grad():
        keys = module(*example)
    _export(module, example, shapes, inputs, cross, encoder)
    ids = torch.ones(_BATCH, _TOKENS, dtype=torch.int64)
    so_far = [torch.randn(_BATCH, one.shape[1], _PAST, one.shape[3]) for one in keys]
    mask = () if speech else (example[1],)
    fed: tuple[Any, ...] = (ids, list(keys), so_far, *mask)
    sizes: tuple[Any, ...] = (
        {0: free, 1: free},
        [{0: free} if speech else {0: free, 2: free}] * len(keys),
        [{0: free, 2: free}] * len(keys),
        *([{0: free, 1: free}] * len(mask)),
    )
    decoder_inputs = ["input_ids", *cross, *past, *(["attention_mask"] * len(mask))]
    _export(_decoder(model, layers), fed, sizes, decoder_inputs, ["logits", *present], decoder)


def _encoder(model: Any) -> Any:
    """Return a module that gives the keys and values that each layer of the decoder makes of the encoder's states."""
    import torch
    from transformers import DynamicCache, EncoderDecoderCache
    from transformers.modeling_outputs import BaseModelOutput

    speech = model.config.model_type == "whisper"

    class Encoder(torch.nn.Module):  # type: ignore[misc]
        """The encoder and the cross attention's projections."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, source: Any, mask: Any = None) -> tuple[Any, ...]:
            """Return key and value of each layer, [batch, heads, source, width]."""
            fed = {"input_features": source} if speech else {"input_ids": source, "attention_mask": mask}
            states = self.model.get_encoder()(**fed).last_hidden_state
            cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
            # One token, whose only use is that the decoder fills its cache.
            self.model(
                encoder_outputs=BaseModelOutput(last_hidden_state=states),
                decoder_input_ids=torch.zeros((states.shape[0], 1), dtype=torch.int64),
                past_key_values=cache,
                use_cache=True,
            )
            return _flat(cache.cross_attention_cache)

    return Encoder()


def _decoder(model: Any, layers: int) -> Any:
    """Return a module of the decoder, which takes the next ids, and keys and values of the source and so far."""
    import torch
    from transformers import EncoderDecoderCache
    from transformers.modeling_outputs import BaseModelOutput

    class Decoder(torch.nn.Module):  # type: ignore[misc]
        """The decoder on the next tokens."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, ids: Any, cross: list[Any], past: list[Any], mask: Any = None) -> tuple[Any, ...]:
            """Return the logits and the keys and values of all tokens."""
            cache = EncoderDecoderCache(_cache(past), _cache(cross))
            cache.is_updated = dict.fromkeys(range(layers), True)
            # Of the encoder's states only the size is read: the cache has what is made of them.
            states = torch.zeros((ids.shape[0], cross[0].shape[2], self.model.config.d_model))
            logits = self.model(
                encoder_outputs=BaseModelOutput(last_hidden_state=states),
                decoder_input_ids=ids,
                past_key_values=cache,
                use_cache=True,
                **({} if mask is None else {"attention_mask": mask}),
            ).logits
            return (logits, *_flat(cache.self_attention_cache))

    return Decoder()


def _export(
    module: Any, example: Any, shapes: Any, inputs: Sequence[str], outputs: Sequence[str], target: Path
) -> None:
    import torch

    torch.onnx.export(
        module.eval(),
        example,
        str(target),
        input_names=list(inputs),
        output_names=list(outputs),
        dynamic_shapes=shapes,
        opset_version=_OPSET,
        dynamo=True,
        external_data=False,
        verbose=False,
    )


def _cache(tensors: Sequence[Any]) -> Any:
    """Return a cache of the keys and values of all layers."""
    from transformers import DynamicCache

    cache = DynamicCache()
    for layer in range(len(tensors) // 2):
        cache.update(tensors[2 * layer], tensors[2 * layer + 1], layer)
    return cache


def _flat(cache: Any) -> tuple[Any, ...]:
    return tuple(tensor for layer in cache.layers for tensor in (layer.keys, layer.values))
