"""Original vision-language models in transformers: their picture processor and their session (worker side)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.pytorch.picture_processors import cut_size, load_processor, placeholders
from edgehone.backends.sessions import (
    Generation,
)
from edgehone.core.errors import ModelError

if TYPE_CHECKING:
    from edgehone.backends.pytorch.session import TorchSession
    from edgehone.backends.sessions import (
        Logits,
    )
    from edgehone.inputs.pictures import Picture

# The prompt format of models without a chat template: that of LLaVA 1.5.
TEMPLATE = "USER: {image}\n{prompt} ASSISTANT:"
# Edge in pixels of the pictures for a model that accepts any size.
DEFAULT_SIZE = 224


class TorchPictureProcessor:
    """A model's picture processor: a `PictureProcessor` of `edgehone.backends.sessions`."""

    def __init__(self, folder: Path) -> None:
        self.processor = load_processor(folder)
        self.image_id = _image_id(self.processor, folder)
        self.token, begin, end = placeholders(self.processor)
        self.mark = str(self.processor.image_token)
        self.expanded = f"{begin}{self.mark}{end}"
        self.size = cut_size(self.processor) or _size(folder)

    def split(self, picture: Picture, prompt: str) -> tuple[list[int], list[int]]:
        """Return the ids before and after the picture's. Raises ModelError if the prompt gets no picture."""
        ids = [int(i) for i in self._run(picture, self._text(prompt))["input_ids"][0]]
        begin, end = self._span(ids)
        return ids[:begin], ids[end:]

    def positions(self, picture: Picture) -> int:
        """Return how many positions of the context a picture takes."""
        return len(self._image_ids(self._run(picture, self.token)))

    def encode(self, text: str) -> list[int]:
        """Return ids without special tokens."""
        return [int(i) for i in self.processor.tokenizer(text, add_special_tokens=False).input_ids]

    def inputs(self, picture: Picture, before: Sequence[int], after: Sequence[int]) -> dict[str, Any]:
        """Return the model's inputs, with what its processor inserts for the picture between the ids."""
        import torch

        encoded = self._run(picture, self.token)
        image = self._image_ids(encoded)
        ids = torch.tensor([[*before, *image, *after]])
        fed = {name: value for name, value in encoded.items() if name not in ("input_ids", "attention_mask")}
        fed |= {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        for name in ("token_type_ids", "mm_token_type_ids"):
            if name in encoded:
                fed[name] = (ids == self.image_id).to(torch.long)
        return fed

    def _image_ids(self, encoded: Any) -> list[int]:
        """Return the ids from the first image token to the last: a picture cut into several has others between."""
        ids = [int(i) for i in encoded["input_ids"][0]]
        begin, end = self._span(ids)
        return ids[begin:end]

    def _span(self, ids: Sequence[int]) -> tuple[int, int]:
        places = [at for at, token in enumerate(ids) if token == self.image_id]
        if not places:
            raise ModelError("the model's processor inserts no picture into the prompt of its chat template")
        return places[0], places[-1] + 1

    def _text(self, prompt: str) -> str:
        template = getattr(self.processor, "chat_template", None)
        if not template:
            return TEMPLATE.format(image=self.token, prompt=prompt)
        content = [{"type": "image"}, {"type": "text", "text": prompt}]
        turns = [{"role": "user", "content": content}]
        return str(self.processor.apply_chat_template(turns, add_generation_prompt=True))

    def _run(self, picture: Picture, text: str) -> Any:
        from PIL import Image

        # A template may write the BOS, which the tokenizer would then double; transformers looks for that, too.
        bos = self.processor.tokenizer.bos_token
        special = not (bos and text.startswith(bos))
        return self.processor(
            images=Image.fromarray(picture), text=text, return_tensors="pt", add_special_tokens=special
        )


class TorchVision:
    """A vision-language model of transformers on the CPU."""

    def __init__(self, folder: Path, session: TorchSession) -> None:
        self._pictures = TorchPictureProcessor(folder)
        self._session = session
        self.tokenize, self.detokenize = session.tokenize, session.detokenize
        self.generate = session.generate

    def score_picture(self, picture: Picture, before: Sequence[int], after: Sequence[int]) -> Logits:
        """Return the logits after each id of `after`, from one forward pass: float32 [len(after), vocabulary]."""
        import numpy as np
        import torch

        model = self._session.model
        fed = self._pictures.inputs(picture, before, after)
        fed = {n: v.to(model.dtype) if v.is_floating_point() else v for n, v in fed.items()}
        with torch.inference_mode():
            logits = model(**fed, use_cache=False).logits[0, -len(after) :]
        return np.asarray(logits.float().numpy(), np.float32)

    def describe(
        self,
        picture: Picture,
        before: Sequence[int],
        after: Sequence[int],
        count: int,
        on_token: Callable[[int], bool] | None = None,
    ) -> Generation:
        """Generate greedily with transformers' generate(). The time includes the processor's."""
        started = time.perf_counter()
        fed = self._pictures.inputs(picture, before, after)
        model = self._session.model
        fed = {n: v.to(model.dtype) if v.is_floating_point() else v for n, v in fed.items()}
        generation = self._session.generate_from(fed, count, on_token)
        return Generation(started, generation.ids, generation.times)

    def close(self) -> None:
        """Free the weights."""
        self._session.close()


def _image_id(processor: Any, folder: Path) -> int:
    token = getattr(processor, "image_token", None)
    image_id = processor.tokenizer.convert_tokens_to_ids(token) if token else None
    if image_id is None or image_id == processor.tokenizer.unk_token_id:
        raise ModelError(f"the processor of {folder.resolve()} has no image token")
    return int(image_id)


def _size(folder: Path) -> int:
    import json

    config = json.loads((folder / "config.json").read_text("utf-8"))
    size = config.get("vision_config", {}).get("image_size")
    return size if isinstance(size, int) else DEFAULT_SIZE
