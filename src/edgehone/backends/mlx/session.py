"""An MLX model folder, scored and generated from by mlx-lm (worker side).

On Apple GPUs both use MLX's own kernels. Elsewhere the weights are first unpacked to floats (`dequantize`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.mlx import build, dequantize
from edgehone.backends.sessions import Generation, Sampling
from edgehone.backends.shared.ids import check_ids
from edgehone.core.errors import JobError

if TYPE_CHECKING:
    from edgehone.backends.sessions import Logits

# Minimum number of chunks per window, so that the logits of later chunks depend on the KV cache.
_PARTS = 4
_LOGITS_BYTES = 64 << 20


def open_model(folder: Path, settings: Mapping[str, Any]) -> tuple[Any, int]:
    """Load a model folder for inference. Returns the model and the size of its vocabulary."""
    import mlx.core as mx

    model, config = build.load(folder)
    # If the files do not give the vocabulary size, ids are not checked.
    vocabulary = int({**config, **config.get("text_config", {})}.get("vocab_size") or 1 << 31)
    if "compute" in settings:
        build.cast(model, getattr(mx, settings["compute"]))
    if not mx.metal.is_available() and settings.get("kernels") != "native":
        dequantize.unpack(model)
    mx.eval(model.parameters())
    return model, vocabulary


class MlxSession:
    """A causal language model of mlx-lm."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        from mlx_lm.utils import load_tokenizer

        self._tokenizer: Any = load_tokenizer(folder, {"trust_remote_code": False})
        self._model, self._vocabulary = open_model(folder, settings)

    def tokenize(self, text: str) -> list[int]:
        """Tokenize with the tokenizer that mlx-lm loads, including the prefix tokens that it adds by default."""
        return [int(i) for i in self._tokenizer.encode(text)]

    def detokenize(self, ids: Sequence[int]) -> str:
        """Return the text without special tokens."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))

    def score(self, ids: Sequence[int]) -> Iterator[Logits]:
        """Yield logits from an empty cache; the ids are fed in chunks through it."""
        import mlx.core as mx
        import numpy as np
        from mlx_lm.models.cache import make_prompt_cache

        check_ids(ids, self._vocabulary)
        cache = make_prompt_cache(self._model)
        rows = max(1, min(-(-len(ids) // _PARTS), _LOGITS_BYTES // (4 * self._vocabulary)))
        for begin in range(0, len(ids), rows):
            part = mx.array([list(ids[begin : begin + rows])])
            logits = self._model(part, cache=cache)[0].astype(mx.float32)
            yield np.array(logits)

    def generate(
        self, ids: Sequence[int], count: int, on_token: Callable[[int], bool] | None = None
    ) -> Generation:
        """Generate greedily with mlx-lm's own loop from an empty cache. Raises JobError if it ends early."""
        return self._generate(ids, count, {}, on_token)

    def sample(
        self,
        ids: Sequence[int],
        count: int,
        sampling: Sampling,
        on_token: Callable[[int], bool] | None = None,
    ) -> Generation:
        """Draw tokens with mlx-lm's own sampler. Raises JobError if it ends early."""
        import mlx.core as mx
        from mlx_lm.sample_utils import make_logits_processors, make_sampler

        mx.random.seed(sampling.seed)
        drawn = make_sampler(sampling.temperature, sampling.top_p, top_k=sampling.top_k)
        penalty = make_logits_processors(
            repetition_penalty=sampling.repetition_penalty, repetition_context_size=len(ids) + count
        )
        return self._generate(ids, count, {"sampler": drawn, "logits_processors": penalty}, on_token)

    def _generate(
        self, ids: Sequence[int], count: int, more: Mapping[str, Any], on_token: Callable[[int], bool] | None
    ) -> Generation:
        import mlx.core as mx
        from mlx_lm.generate import generate_step

        check_ids(ids, self._vocabulary)
        generated: list[int] = []
        times: list[float] = []
        started = time.perf_counter()
        for token, _ in generate_step(mx.array(list(ids)), self._model, max_tokens=count, **more):
            times.append(time.perf_counter())
            generated.append(int(token))
            if on_token is not None and on_token(generated[-1]):
                return Generation(started, generated, times)
        if len(generated) != count:
            raise JobError(f"mlx-lm ended after {len(generated)} of {count} tokens")
        return Generation(started, generated, times)

    def close(self) -> None:
        """Release the model and the tokenizer."""
        self._model = self._tokenizer = None
