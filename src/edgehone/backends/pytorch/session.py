"""An original checkpoint run by transformers (worker side)."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.pytorch.supported import vision_model_types
from edgehone.backends.pytorch.tokenizer import load_tokenizer
from edgehone.backends.pytorch.weights import load_weights
from edgehone.backends.sessions import Generation
from edgehone.backends.shared.ids import padded

if TYPE_CHECKING:
    from edgehone.backends.sessions import Logits

# Float32 logits of one forward pass are held whole up to this size, and made in parts beyond it.
WHOLE_LOGITS_BYTES = 128 << 20


class TorchSession:
    """A causal language model of transformers on the CPU."""

    def __init__(self, folder: Path, dtype: str) -> None:
        self.tokenizer = load_tokenizer(folder)
        self.model = _load_model(folder, dtype)
        self.vocabulary = int(self.model.get_output_embeddings().weight.shape[0])

    def tokenize(self, text: str) -> list[int]:
        """Ids with whatever the tokenizer puts in front by itself."""
        return [int(i) for i in self.tokenizer(text, verbose=False).input_ids]

    def detokenize(self, ids: Sequence[int]) -> str:
        """The text, special tokens left out."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def score(self, ids: Sequence[int]) -> Iterator[Logits]:
        """Logits of one forward pass over all ids; in parts where whole they would be too big."""
        import torch

        fitting = max(1, WHOLE_LOGITS_BYTES // (4 * self.vocabulary))
        inputs = torch.tensor([list(ids)])
        with torch.inference_mode():
            if len(ids) <= fitting or not _takes_logits_to_keep(self.model):
                yield _array(self.model(inputs, use_cache=False).logits)
                return
            yield from self._score_in_parts(inputs, fitting)

    def _score_in_parts(self, inputs: Any, rows: int) -> Iterator[Logits]:
        """The layers run once, the model's own head (scaling and capping included) on so many rows at a time."""
        import torch

        body = self.model.base_model
        hidden = body(inputs, use_cache=False)
        layers, body.forward = body.forward, lambda *_, **__: hidden
        try:
            for begin in range(0, inputs.shape[1], rows):
                keep = torch.arange(begin, min(begin + rows, inputs.shape[1]))
                yield _array(self.model(inputs, use_cache=False, logits_to_keep=keep).logits)
        finally:
            body.forward = layers

    def generate(
        self, ids: Sequence[int], count: int, on_token: Callable[[int], bool] | None = None
    ) -> Generation:
        """transformers' own greedy generate()."""
        import torch

        inputs = torch.tensor([list(ids)])
        fed = {"input_ids": inputs, "attention_mask": torch.ones_like(inputs)}
        return self.generate_from(fed, count, on_token)

    def generate_from(
        self, fed: Mapping[str, Any], count: int, on_token: Callable[[int], bool] | None = None
    ) -> Generation:
        """The same from all that the model's forward pass is fed."""
        import torch

        clock = _Clock(on_token)
        more = {"stopping_criteria": [clock.stop]} if on_token else {}
        started = time.perf_counter()
        with torch.inference_mode():
            self.model.generate(
                **fed,
                max_new_tokens=count,
                do_sample=False,
                streamer=clock,
                **more,
            )
        return Generation(started, clock.ids, clock.times)

    def generate_many(self, prompts: Sequence[Sequence[int]], count: int) -> list[Generation]:
        """transformers' generate() of a batch, shorter prompts padded on the left."""
        import torch

        ids, mask = (torch.from_numpy(array) for array in padded(prompts))
        times: list[float] = []

        def note(made: Any, scores: Any, **_: Any) -> Any:
            times.append(time.perf_counter())
            return torch.zeros(len(prompts), dtype=torch.bool)

        fed = {"input_ids": ids, "attention_mask": mask}
        started = time.perf_counter()
        with torch.inference_mode():
            made = self.model.generate(**fed, max_new_tokens=count, do_sample=False, stopping_criteria=[note])
        rows = made[:, ids.shape[1] :].tolist()
        return [Generation(started, row, times) for row in rows]

    def close(self) -> None:
        """Drop the weights."""
        del self.model


class _Clock:
    """A streamer of transformers that notes each token and its moment."""

    def __init__(self, on_token: Callable[[int], bool] | None) -> None:
        self.on_token = on_token
        self.ids: list[int] = []
        self.times: list[float] = []
        self.prompt_seen = False
        self.stopped = False

    def put(self, value: Any) -> None:
        """Called with the prompt first, then with each token."""
        if not self.prompt_seen:
            self.prompt_seen = True
            return
        token = int(value)
        self.times.append(time.perf_counter())
        self.ids.append(token)
        if self.on_token is not None:
            self.stopped = self.on_token(token) or self.stopped

    def end(self) -> None:
        """Called after the last token."""

    def stop(self, ids: Any, scores: Any, **_: Any) -> Any:
        """A stopping criterion: transformers asks it before it streams the token, so it stops one later."""
        import torch

        return torch.full((ids.shape[0],), self.stopped)


def _load_model(folder: Path, dtype: str) -> Any:
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, GenerationConfig

    config = json.loads((folder / "config.json").read_text("utf-8"))
    seeing = "vision_config" in config and config.get("model_type") in vision_model_types()
    model = load_weights(AutoModelForImageTextToText if seeing else AutoModelForCausalLM, folder, dtype)
    # The model's own sampling defaults and end-of-text would disturb a greedy generation of fixed length.
    model.generation_config = GenerationConfig(pad_token_id=0)
    return model


def _takes_logits_to_keep(model: Any) -> bool:
    import inspect

    return "logits_to_keep" in inspect.signature(model.forward).parameters


def _array(logits: Any) -> Logits:
    import numpy as np

    return np.asarray(logits[0].float().numpy(), np.float32)
