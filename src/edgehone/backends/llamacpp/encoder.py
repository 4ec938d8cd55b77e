"""Run an encoder's GGUF with libllama: token ids and a mask as inputs, the hidden state of every token as output.

Each row of a batch is a separate call, since libllama's encoders attend to everything in one call.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.llamacpp.log import Log
from edgehone.backends.llamacpp.offload import CPU, load_model
from edgehone.core.errors import EdgehoneError, InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

IDS, MASK, TYPES, POSITIONS = "input_ids", "attention_mask", "token_type_ids", "position_ids"
OUTPUT = "last_hidden_state"
# Context sizes are rounded up, so that rows of similar length share a context.
_STEP = 64
# Model types that number positions over non-padding tokens only; the others number all columns.
_COUNTED = ("roberta", "xlm-roberta", "camembert")


class EncoderSession:
    """A model with one context, which is reopened when a longer one is needed."""

    def __init__(self, library: Any, path: Path, settings: Mapping[str, Any], threads: int) -> None:
        """Load the weights, memory-mapped. Raises EdgehoneError with libllama's message if that fails."""
        self._lib = library
        self._counted = settings.get("positions") in _COUNTED
        self._threads = threads
        self._model = self._context = None
        self._capacity = 0
        self._log = Log(library)
        library.llama_backend_init()
        params = library.llama_model_default_params()
        self._model = load_model(library, path, params, settings.get("device", CPU))
        if not self._model:
            raise EdgehoneError(f"llama.cpp cannot load {path}: {self._log.cause}")
        self._width = int(library.llama_model_n_embd(self._model))
        self._longest = int(library.llama_model_n_ctx_train(self._model))
        vocab = library.llama_model_get_vocab(self._model)
        self._vocabulary = int(library.llama_vocab_n_tokens(vocab))

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return last_hidden_state, float32 [b, s, h], for input_ids [b, s] and attention_mask [b, s] (default: ones).

        Outputs are 0 where the mask is 0. Raises InputError for other inputs, token types other than 0, ids outside the
        vocabulary, and rows longer than the model's positions.
        """
        import numpy as np

        ids, mask = self._checked(feeds)
        out = np.zeros((*ids.shape, self._width), np.float32)
        for row in range(len(ids)):
            if (columns := np.flatnonzero(mask[row])).size:
                positions = np.arange(columns.size) if self._counted else columns
                out[row, columns] = self._encode(ids[row, columns], positions)
        return {OUTPUT: out}

    def close(self) -> None:
        """Free the context and the model. A second call does nothing."""
        self._free_context()
        if self._model:
            self._lib.llama_model_free(self._model)
        self._model = None

    def _checked(self, feeds: Mapping[str, NDArray[Any]]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        import numpy as np

        if IDS not in feeds or set(feeds) - {IDS, MASK, TYPES}:
            raise InputError(f"the inputs are {', '.join(feeds) or 'none'}; expected {IDS} and {MASK}")
        ids = np.asarray(feeds[IDS], np.int64)
        mask = np.asarray(feeds.get(MASK, np.ones_like(ids))) != 0
        if ids.ndim != 2 or mask.shape != ids.shape:
            raise InputError(
                f"{IDS} and {MASK} have the shapes {ids.shape} and {mask.shape}, not [batch, length]"
            )
        if TYPES in feeds and np.asarray(feeds[TYPES])[mask].any():
            raise InputError(f"{TYPES} are not all 0, which libllama does not support")
        if (used := ids[mask]).size and (used.min() < 0 or used.max() >= self._vocabulary):
            bad = int(used.min() if used.min() < 0 else used.max())
            raise InputError(f"token id {bad} is outside the vocabulary of {self._vocabulary}")
        if ids.shape[1] > self._longest:
            raise InputError(f"a row of {ids.shape[1]} ids exceeds the model's {self._longest} positions")
        return ids, mask

    def _encode(self, ids: NDArray[np.int64], positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the hidden states of one row without padding: a copy, float32 [n, width]."""
        import numpy as np

        lib, count = self._lib, len(ids)
        if count > self._capacity:
            self._open_context(count)
        batch = lib.llama_batch_init(count, 0, 1)
        try:
            batch.n_tokens = count
            for i in range(count):
                batch.token[i], batch.pos[i] = int(ids[i]), int(positions[i])
                batch.n_seq_id[i], batch.seq_id[i][0], batch.logits[i] = 1, 0, 1
            if code := lib.llama_encode(self._context, batch):
                raise EdgehoneError(f"llama.cpp cannot encode (code {code}): {self._log.cause}")
            pointer = lib.llama_get_embeddings(self._context)
            if not pointer:
                raise EdgehoneError("llama.cpp returns no hidden states of this model")
            rows = np.ctypeslib.as_array(pointer, shape=(count, self._width))
            return rows.astype(np.float32, copy=True)
        finally:
            lib.llama_batch_free(batch)

    def _open_context(self, length: int) -> None:
        self._free_context()
        lib = self._lib
        params = lib.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = -(-length // _STEP) * _STEP
        params.n_threads = params.n_threads_batch = self._threads
        params.embeddings = True
        params.pooling_type = lib.LLAMA_POOLING_TYPE_NONE
        # Flash attention would round keys and values to 16 bits, but the exact build is compared in 32 bits.
        params.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.no_perf = True
        self._context = lib.llama_init_from_model(self._model, params)
        if not self._context:
            raise EdgehoneError(f"llama.cpp cannot open a context of {length} tokens: {self._log.cause}")
        self._capacity = int(params.n_ctx)

    def _free_context(self) -> None:
        if self._context:
            self._lib.llama_free(self._context)
        self._context, self._capacity = None, 0
