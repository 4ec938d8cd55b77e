"""A GGUF file with its mmproj.gguf: libmtmd encodes a picture, libllama goes on from its embeddings (worker side)."""

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
    """A language model that is shown pictures; without one it is the language model alone."""

    def __init__(
        self,
        libraries: tuple[Any, Any],
        model: Path,
        projector: Path,
        settings: Mapping[str, Any],
        threads: int,
    ) -> None:
        """Load both. EdgehoneError where libmtmd cannot, or places pictures in a way that is not handled here."""
        library, self._mtmd = libraries
        super().__init__(library, model, settings, threads)
        params = self._mtmd.mtmd_context_params_default()
        params.use_gpu, params.print_timings, params.warmup = False, False, False
        params.n_threads = self._threads
        self._eyes = self._mtmd.mtmd_init_from_file(str(projector).encode(), self._model, params)
        if not self._eyes:
            raise EdgehoneError(f"libmtmd cannot load {projector}: {self._log.cause}")
        if self._mtmd.mtmd_decode_use_mrope(self._eyes) or self._mtmd.mtmd_decode_use_non_causal(
            self._eyes, None
        ):
            raise EdgehoneError(
                "this model's pictures have positions or a mask of their own, which are not handled"
            )

    def score_picture(self, picture: Picture, before: Sequence[int], after: Sequence[int]) -> Logits:
        """Logits after each of `after`."""
        import numpy as np

        self._show(picture, before, len(after))
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
        """Greedy tokens; the encoding of the picture counts."""
        started = time.perf_counter()
        self._show(picture, before, len(after) + count)
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
        """Free the encoder too."""
        if self._eyes:
            self._mtmd.mtmd_free(self._eyes)
        self._eyes = None
        super().close()

    def _show(self, picture: Picture, before: Sequence[int], more: int) -> None:
        """A context that holds `before` and the picture, with room for `more`; `_at` is the next position."""
        self._check(before)
        with self._image_chunk(picture) as chunk:
            places = int(self._mtmd.mtmd_input_chunk_get_n_tokens(chunk))
            self._prepare(len(before) + places + more)
            with self._batch_of(len(before)) as batch:
                self._tokens(batch, before, 0, every=False)
                self._decode(batch)
            if self._mtmd.mtmd_encode_chunk(self._eyes, chunk):
                raise EdgehoneError(f"libmtmd cannot encode the picture: {self._log.cause}")
            self._embed(places, len(before))
        self._at = len(before) + places

    def _embed(self, places: int, start: int) -> None:
        """The last encoded picture's embeddings, decoded as `places` positions."""
        width = int(self._lib.llama_model_n_embd(self._model))
        found = self._mtmd.mtmd_get_output_embd(self._eyes)
        batch = self._lib.llama_batch_init(places, width, 1)
        try:
            batch.n_tokens = places
            ctypes.memmove(batch.embd, found, places * width * ctypes.sizeof(ctypes.c_float))
            for index in range(places):
                batch.pos[index] = start + index
                batch.n_seq_id[index] = 1
                batch.seq_id[index][0] = 0
                batch.logits[index] = 0
            self._decode(batch)
        finally:
            self._lib.llama_batch_free(batch)

    @contextmanager
    def _image_chunk(self, picture: Picture) -> Iterator[Any]:
        """What libmtmd makes of a picture: cut and scaled by its own rules, ready to be encoded."""
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
            if code := lib.mtmd_tokenize(self._eyes, chunks, ctypes.byref(text), bitmaps, 1):
                raise EdgehoneError(f"libmtmd cannot take a picture of {width} x {height} (code {code})")
            found = [lib.mtmd_input_chunks_get(chunks, i) for i in range(lib.mtmd_input_chunks_size(chunks))]
            images = [c for c in found if lib.mtmd_input_chunk_get_type(c) == lib.MTMD_INPUT_CHUNK_TYPE_IMAGE]
            if len(images) != 1:
                raise EdgehoneError(
                    f"libmtmd cuts a picture of {width} x {height} into {len(images)}: not handled"
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
        """Consecutive positions of sequence 0; logits wanted for each, or for the last."""
        batch.n_tokens = len(ids)
        for index, token in enumerate(ids):
            batch.token[index] = token
            batch.pos[index] = start + index
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = 0
            batch.logits[index] = int(every or index == len(ids) - 1)
