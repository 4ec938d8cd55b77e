"""Run a vision-language model: libmtmd encodes the picture, libllama continues from its embeddings (worker side)."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.llamacpp.session import LlamaSession
from edgehone.backends.sessions import (
    Generation,
)
from edgehone.core.errors import EdgehoneError

if TYPE_CHECKING:
    from edgehone.backends.sessions import (
        Logits,
    )
    from edgehone.inputs.pictures import Picture


class LlamaVision(LlamaSession):
    """A session with a vision encoder. Without a picture it behaves like the language model alone."""

    def __init__(
        self,
        libraries: tuple[Any, Any],
        model: Path,
        projector: Path,
        settings: Mapping[str, Any],
        threads: int,
    ) -> None:
        """Load both files. Raises EdgehoneError with libllama's or libmtmd's message if that fails."""
        library, self._mtmd = libraries
        super().__init__(library, model, settings, threads)
        params = self._mtmd.mtmd_context_params_default()
        params.use_gpu, params.print_timings, params.warmup = False, False, False
        params.n_threads = self._threads
        self._encoder = self._mtmd.mtmd_init_from_file(str(projector).encode(), self._model, params)
        if not self._encoder:
            raise EdgehoneError(f"libmtmd cannot load {projector}: {self._log.cause}")

    def score_picture(self, picture: Picture, before: Sequence[int], after: Sequence[int]) -> Logits:
        """Return the logits after each id of `after`: float32 [len(after), vocabulary]."""
        import numpy as np

        self._feed_picture(picture, before, len(after))
        with self._batch_of(len(after)) as batch:
            self._tokens(batch, after, self._at, every=True)
            self._decode(batch)
            pointer = self._lib.llama_get_logits(self._context)
            rows = np.ctypeslib.as_array(pointer, shape=(len(after), self._vocabulary))
            return rows.astype(np.float32, copy=True)

    def describe(
        self,
        picture: Picture,
        before: Sequence[int],
        after: Sequence[int],
        count: int,
        on_token: Callable[[int], bool] | None = None,
    ) -> Generation:
        """Generate `count` greedy tokens. The times include encoding the picture."""
        started = time.perf_counter()
        self._feed_picture(picture, before, len(after) + count)
        ids: list[int] = []
        times: list[float] = []
        fed, at = list(after), self._at
        with self._batch_of(max(len(after), 1)) as batch:
            while True:
                self._tokens(batch, fed, at, every=False)
                self._decode(batch)
                at += len(fed)
                ids.append(int(self._lib.llama_sampler_sample(self._sampler, self._context, -1)))
                times.append(time.perf_counter())
                if (on_token is not None and on_token(ids[-1])) or len(ids) == count:
                    return Generation(started, ids, times)
                fed = ids[-1:]

    def close(self) -> None:
        """Free the encoder, and what a session without pictures frees."""
        if self._encoder:
            self._mtmd.mtmd_free(self._encoder)
        self._encoder = None
        super().close()

    def _feed_picture(self, picture: Picture, before: Sequence[int], more: int) -> None:
        """Decode `before` and the picture in a context with room for `more` tokens. Sets `_at`, the next position."""
        if before:
            self._check(before)
        with self._picture_chunks(picture) as chunks:
            tokens = sum(int(self._mtmd.mtmd_input_chunk_get_n_tokens(chunk)) for chunk in chunks)
            self._prepare(len(before) + tokens + more)
            if before:
                with self._batch_of(len(before)) as batch:
                    self._tokens(batch, before, 0, every=False)
                    self._decode(batch)
            self._at = len(before)
            for chunk in chunks:
                self._feed_chunk(chunk)

    def _feed_chunk(self, chunk: Any) -> None:
        """Encode and decode a chunk from position `_at` on, which becomes the next one.

        libmtmd gives it the positions and the mask that the model needs: those of a Qwen2-VL have three dimensions, of
        which a picture takes as many as its longer side, and the tokens of a Gemma 3's picture attend to each other.
        """
        lib, position = self._mtmd, ctypes.c_int32(self._at)
        code = lib.mtmd_helper_eval_chunk_single(
            self._encoder, self._context, chunk, self._at, 0, self._batch, False, ctypes.byref(position)
        )
        if code:
            raise EdgehoneError(f"libmtmd cannot encode the picture (code {code}): {self._log.cause}")
        self._at = int(position.value)

    def _parameters(self, length: int, sequences: int) -> Any:
        params = super()._parameters(length, sequences)
        if self._mtmd.mtmd_decode_use_non_causal(self._encoder, None):
            # Tokens that attend to each other must be in one batch.
            params.n_batch = params.n_ubatch = params.n_ctx
        return params

    @contextmanager
    def _picture_chunks(self, picture: Picture) -> Iterator[list[Any]]:
        """Yield what libmtmd makes of a picture, cropped and scaled by its own rules: one chunk for most models.

        A picture that is cut into several has chunks of text between them. What libmtmd writes before the first and
        after the last is left out, since it is in the ids around the picture.
        """
        import numpy as np

        lib = self._mtmd
        pixels = np.ascontiguousarray(picture, np.uint8)
        height, width = pixels.shape[:2]
        bitmap = lib.mtmd_bitmap_init(width, height, pixels.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8)))
        chunks = lib.mtmd_input_chunks_init()
        try:
            marker = lib.mtmd_default_marker()
            text = lib.mtmd_input_text(marker, len(marker), False, True)
            bitmaps = (ctypes.c_void_p * 1)(bitmap)
            if code := lib.mtmd_tokenize(self._encoder, chunks, ctypes.byref(text), bitmaps, 1):
                raise EdgehoneError(f"libmtmd rejects a picture of {width} x {height} pixels (code {code})")
            parts = [lib.mtmd_input_chunks_get(chunks, i) for i in range(lib.mtmd_input_chunks_size(chunks))]
            kinds = [lib.mtmd_input_chunk_get_type(part) for part in parts]
            images = [at for at, kind in enumerate(kinds) if kind == lib.MTMD_INPUT_CHUNK_TYPE_IMAGE]
            if not images:
                raise EdgehoneError(f"libmtmd makes nothing of a picture of {width} x {height} pixels")
            found = parts[images[0] : images[-1] + 1]
            self._check_text(found)
            yield found
        finally:
            lib.mtmd_input_chunks_free(chunks)
            lib.mtmd_bitmap_free(bitmap)

    def _check_text(self, chunks: Sequence[Any]) -> None:
        """Raise EdgehoneError for a text between two parts of a picture that the vocabulary has no token for."""
        lib, count = self._mtmd, ctypes.c_size_t()
        for chunk in chunks:
            if lib.mtmd_input_chunk_get_type(chunk) == lib.MTMD_INPUT_CHUNK_TYPE_TEXT:
                ids = lib.mtmd_input_chunk_get_tokens_text(chunk, ctypes.byref(count))
                if any(ids[at] < 0 for at in range(count.value)):
                    raise EdgehoneError(
                        "libmtmd cuts the picture into several, and the vocabulary has no token for what it writes "
                        "between them (line breaks, <row_1_col_1>, <global-img>)"
                    )

    @contextmanager
    def _batch_of(self, size: int) -> Iterator[Any]:
        batch = self._lib.llama_batch_init(max(size, 1), 0, 1)
        try:
            yield batch
        finally:
            self._lib.llama_batch_free(batch)

    def _tokens(self, batch: Any, ids: Sequence[int], start: int, *, every: bool) -> None:
        """Fill a batch with consecutive positions of sequence 0, with logits for each or for the last."""
        batch.n_tokens = len(ids)
        for index, token in enumerate(ids):
            batch.token[index] = token
            batch.pos[index] = start + index
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = 0
            batch.logits[index] = int(every or index == len(ids) - 1)
