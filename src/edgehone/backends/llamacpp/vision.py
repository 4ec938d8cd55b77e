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
        """Load both files. Raises EdgehoneError if that fails, or for positions or masks that are not supported."""
        library, self._mtmd = libraries
        super().__init__(library, model, settings, threads)
        params = self._mtmd.mtmd_context_params_default()
        params.use_gpu, params.print_timings, params.warmup = False, False, False
        params.n_threads = self._threads
        self._encoder = self._mtmd.mtmd_init_from_file(str(projector).encode(), self._model, params)
        if not self._encoder:
            raise EdgehoneError(f"libmtmd cannot load {projector}: {self._log.cause}")
        if self._mtmd.mtmd_decode_use_mrope(self._encoder) or self._mtmd.mtmd_decode_use_non_causal(
            self._encoder, None
        ):
            raise EdgehoneError(
                "this model uses special positions or a special mask for pictures, which is not supported"
            )

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
        with self._image_chunk(picture) as chunk:
            positions = int(self._mtmd.mtmd_input_chunk_get_n_tokens(chunk))
            self._prepare(len(before) + positions + more)
            if before:
                with self._batch_of(len(before)) as batch:
                    self._tokens(batch, before, 0, every=False)
                    self._decode(batch)
            if self._mtmd.mtmd_encode_chunk(self._encoder, chunk):
                raise EdgehoneError(f"libmtmd cannot encode the picture: {self._log.cause}")
            self._embed(positions, len(before))
        self._at = len(before) + positions

    def _embed(self, positions: int, start: int) -> None:
        """Decode the embeddings of the last encoded picture as `positions` positions."""
        width = int(self._lib.llama_model_n_embd(self._model))
        embedding = self._mtmd.mtmd_get_output_embd(self._encoder)
        batch = self._lib.llama_batch_init(positions, width, 1)
        try:
            batch.n_tokens = positions
            ctypes.memmove(batch.embd, embedding, positions * width * ctypes.sizeof(ctypes.c_float))
            for index in range(positions):
                batch.pos[index] = start + index
                batch.n_seq_id[index] = 1
                batch.seq_id[index][0] = 0
                batch.logits[index] = 0
            self._decode(batch)
        finally:
            self._lib.llama_batch_free(batch)

    @contextmanager
    def _image_chunk(self, picture: Picture) -> Iterator[Any]:
        """Yield the chunk that libmtmd makes of a picture, cropped and scaled by its own rules, ready to be encoded."""
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
            images = [c for c in parts if lib.mtmd_input_chunk_get_type(c) == lib.MTMD_INPUT_CHUNK_TYPE_IMAGE]
            if len(images) != 1:
                raise EdgehoneError(
                    f"libmtmd splits a picture of {width} x {height} pixels into {len(images)}, which is not supported"
                )
            yield images[0]
        finally:
            lib.mtmd_input_chunks_free(chunks)
            lib.mtmd_bitmap_free(bitmap)

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
