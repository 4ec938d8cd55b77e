"""Run an original checkpoint with transformers (worker side)."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.pytorch.supported import vision_model_types
from edgehone.backends.pytorch.tokenizer import load_tokenizer
from edgehone.backends.pytorch.weights import load_weights
from edgehone.backends.sessions import Generation, Sampling
from edgehone.backends.shared.ids import padded

if TYPE_CHECKING:
    from edgehone.backends.sessions import Logits

# Float32 logits of one forward pass are computed at once up to this size, and in parts above it.
WHOLE_LOGITS_BYTES = 128 << 20


class TorchSession:
    """A causal language model of transformers on the CPU."""

    def __init__(self, folder: Path, dtype: str) -> None:
        self.tokenizer = load_tokenizer(folder)
        self.model = _load_model(folder, dtype)
        self.vocabulary = int(self.model.get_output_embeddings().weight.shape[0])

    def tokenize(self, text: str) -> list[int]:
        """Return ids, with the special tokens that the tokenizer adds by default."""
        return [int(i) for i in self.tokenizer(text, verbose=False).input_ids]

    def detokenize(self, ids: Sequence[int]) -> str:
        """Return the text, without special tokens."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def score(self, ids: Sequence[int]) -> Iterator[Logits]:
        """Yield the logits of one forward pass over all ids, in parts if they are large."""
        import torch

        limit = max(1, WHOLE_LOGITS_BYTES // (4 * self.vocabulary))
        inputs = torch.tensor([list(ids)])
        with torch.inference_mode():
            if len(ids) <= limit or not _takes_logits_to_keep(self.model):
                yield as_logits(self.model(inputs, use_cache=False).logits)
                return
            yield from self._score_in_parts(inputs, limit)

    def _score_in_parts(self, inputs: Any, rows: int) -> Iterator[Logits]:
        """Run the layers once, and the model's own head (with its scaling and capping) on `rows` rows at a time."""
        import torch

        body = self.model.base_model
        hidden = body(inputs, use_cache=False)
        layers, body.forward = body.forward, lambda *_, **__: hidden
        try:
            for begin in range(0, inputs.shape[1], rows):
                keep = torch.arange(begin, min(begin + rows, inputs.shape[1]))
                yield as_logits(self.model(inputs, use_cache=False, logits_to_keep=keep).logits)
        finally:
            body.forward = layers

    def generate(
        self, ids: Sequence[int], count: int, on_token: Callable[[int], bool] | None = None
    ) -> Generation:
        """Generate greedily with transformers' generate()."""
        import torch

        inputs = torch.tensor([list(ids)])
        fed = {"input_ids": inputs, "attention_mask": torch.ones_like(inputs)}
        return self.generate_from(fed, count, on_token)

    def sample(
        self,
        ids: Sequence[int],
        count: int,
        sampling: Sampling,
        on_token: Callable[[int], bool] | None = None,
    ) -> Generation:
        """Draw tokens with transformers' generate()."""
        import torch

        torch.manual_seed(sampling.seed)
        inputs = torch.tensor([list(ids)])
        fed = {"input_ids": inputs, "attention_mask": torch.ones_like(inputs)}
        return self.generate_from(fed, count, on_token, _sampling(sampling))

    def generate_from(
        self,
        fed: Mapping[str, Any],
        count: int,
        on_token: Callable[[int], bool] | None = None,
        sampling: Mapping[str, Any] | None = None,
    ) -> Generation:
        """Generate from the inputs of the model's forward pass; greedily without `sampling` (of `_sampling`)."""
        import torch

        clock = _Clock(on_token)
        more: dict[str, Any] = {"stopping_criteria": [clock.stop]} if on_token else {}
        started = time.perf_counter()
        with torch.inference_mode():
            self.model.generate(
                **fed,
                max_new_tokens=count,
                streamer=clock,
                **(sampling or {"do_sample": False}),
                **more,
            )
        return Generation(started, clock.ids, clock.times)

    def generate_many(self, prompts: Sequence[Sequence[int]], count: int) -> list[Generation]:
        """Generate with transformers' generate() for a batch, with shorter prompts padded on the left."""
        import torch

        ids, mask = (torch.from_numpy(array) for array in padded(prompts))
        times: list[float] = []

        def record_time(sequences: Any, scores: Any, **_: Any) -> Any:
            times.append(time.perf_counter())
            return torch.zeros(len(prompts), dtype=torch.bool)

        fed = {"input_ids": ids, "attention_mask": mask}
        started = time.perf_counter()
        with torch.inference_mode():
            generated = self.model.generate(
                **fed, max_new_tokens=count, do_sample=False, stopping_criteria=[record_time]
            )
        rows = generated[:, ids.shape[1] :].tolist()
        return [Generation(started, row, times) for row in rows]

    def close(self) -> None:
        """Free the weights."""
        del self.model


def _sampling(sampling: Sampling) -> dict[str, Any]:
    """Return the arguments of transformers' generate()."""
    penalty = {"repetition_penalty": sampling.repetition_penalty}
    if sampling.temperature == 0:
        return {"do_sample": False, **penalty}
    drawn = {"temperature": sampling.temperature, "top_k": sampling.top_k, "top_p": sampling.top_p}
    return {"do_sample": True, **drawn, **penalty}


class _Clock:
    """A streamer for transformers that records each token and its time."""

    def __init__(self, on_token: Callable[[int], bool] | None) -> None:
        self.on_token = on_token
        self.ids: list[int] = []
        self.times: list[float] = []
        self.has_prompt = False
        self.stopped = False

    def put(self, value: Any) -> None:
        """Receive the prompt first, then each token."""
        if not self.has_prompt:
            self.has_prompt = True
            return
        token = int(value)
        self.times.append(time.perf_counter())
        self.ids.append(token)
        if self.on_token is not None:
            self.stopped = self.on_token(token) or self.stopped

    def end(self) -> None:
        """Called by transformers after the last token."""

    def stop(self, ids: Any, scores: Any, **_: Any) -> Any:
        """Stopping criterion. transformers calls it before streaming the token, so generation stops one token later."""
        import torch

        return torch.full((ids.shape[0],), self.stopped)


def _load_model(folder: Path, dtype: str) -> Any:
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, GenerationConfig

    config = json.loads((folder / "config.json").read_text("utf-8"))
    has_vision = "vision_config" in config and config.get("model_type") in vision_model_types()
    model = load_weights(AutoModelForImageTextToText if has_vision else AutoModelForCausalLM, folder, dtype)
    # Replace the model's sampling defaults and end-of-text, which would affect greedy generation of fixed length.
    model.generation_config = GenerationConfig(pad_token_id=0)
    return model


def _takes_logits_to_keep(model: Any) -> bool:
    import inspect

    return "logits_to_keep" in inspect.signature(model.forward).parameters


def as_logits(logits: Any) -> Logits:
    """Return a model's logits of its only window: float32 [n, vocabulary]."""
    import numpy as np

    return np.asarray(logits[0].float().numpy(), np.float32)
