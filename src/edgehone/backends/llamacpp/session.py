"""Run a GGUF file with libllama through the low-level ctypes binding: tokenize, score, generate.

All computation runs in libllama; Python only fills token arrays and copies logits. `library` is the module
`llama_cpp.llama_cpp`, whose names are those of llama.h.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.capabilities import LAYERS
from edgehone.backends.llamacpp import adapter, speculation
from edgehone.backends.llamacpp.log import Log
from edgehone.backends.llamacpp.offload import CPU, load_model
from edgehone.backends.llamacpp.samplers import sampler_chain
from edgehone.backends.llamacpp.vocabulary import detokenize, tokenize
from edgehone.backends.sessions import (
    Generation,
    Sampling,
)
from edgehone.backends.shared.prompt_lookup import Lookup
from edgehone.core.errors import EdgehoneError, InputError

if TYPE_CHECKING:
    from edgehone.backends.sessions import (
        Logits,
    )

# The defaults of llama.cpp and of llama-bench.
_BATCH = 2048
_MICROBATCH = 512
# Limits of one scored chunk of logits: positions and bytes.
_SCORED = 512
_SCORED_BYTES = 64 << 20
# Context sizes are rounded up, so that prompts of similar length share a context.
_CONTEXT_STEP = 256

_KV_TYPES = ("f16", "q8_0")
# How weights are loaded: memory-mapped, memory-mapped and locked, or read.
_LOADS = {"mmap": "MMAP", "mlock": "MMAP_MLOCK", "read": "NONE"}


class LlamaSession:
    """A model with a greedy sampler and one context, which is reopened when a longer one is needed."""

    def __init__(self, library: Any, path: Path, settings: Mapping[str, Any], threads: int) -> None:
        """Load the weights. Raises EdgehoneError with libllama's message if that fails."""
        self._lib = library
        self._settings = dict(settings)
        self._threads = threads
        self._kv_type = _kv_type(library, settings.get("kv_cache", "f16"))
        self._path = path
        self._draft_tokens = speculation.setting(settings, "draft")
        self._lookup_tokens = speculation.setting(settings, "prompt_lookup")
        self._draft: LlamaSession | None = None
        self._model = self._context = self._sampler = None
        self._fed: Any = None
        self._capacity = self._batch = self._sequences = 0
        self._log = Log(library)
        library.llama_backend_init()
        params = library.llama_model_default_params()
        _set_load(library, params, settings.get("load", "mmap"))
        self._model = load_model(library, path, params, settings.get("device", CPU), settings.get(LAYERS))
        if not self._model:
            raise EdgehoneError(f"llama.cpp cannot load {path}: {self._log.cause}")
        self._adapter = adapter.load(library, self._model, path)
        self._vocab = library.llama_model_get_vocab(self._model)
        self._vocabulary = int(library.llama_vocab_n_tokens(self._vocab))
        self._sampler = library.llama_sampler_init_greedy()

    def tokenize(self, text: str) -> list[int]:
        """Return ids, with BOS if the GGUF asks for it. Special tokens in the text are recognised."""
        return tokenize(self._lib, self._vocab, text, True)

    def detokenize(self, ids: Sequence[int]) -> str:
        """Return the text of the ids, without control tokens."""
        return detokenize(self._lib, self._vocab, ids)

    def score(self, ids: Sequence[int]) -> Iterator[Logits]:
        """Yield the logits after each id, from an empty context: copied float32 chunks [n, vocabulary]."""
        import numpy as np

        self._check(ids)
        step = max(1, min(_SCORED, _SCORED_BYTES // (4 * self._vocabulary)))
        self._prepare(len(ids))
        batch = self._lib.llama_batch_init(step, 0, 1)
        try:
            for start in range(0, len(ids), step):
                part = ids[start : start + step]
                _fill(batch, part, start)
                self._decode(batch)
                pointer = self._lib.llama_get_logits(self._context)
                rows = np.ctypeslib.as_array(pointer, shape=(len(part), self._vocabulary))
                yield rows.astype(np.float32, copy=True)
        finally:
            self._lib.llama_batch_free(batch)

    def generate(
        self, ids: Sequence[int], count: int, on_token: Callable[[int], bool] | None = None
    ) -> Generation:
        """Generate exactly `count` greedy tokens, ignoring end-of-text, with drafts if the settings ask for them."""
        if drafted := self._draft_tokens or self._lookup_tokens:
            self._check(ids)
            drafter = self._drafter(ids, count + drafted)
            return speculation.generate(self, ids, count, drafter, drafted, on_token)
        return self._generate(ids, count, self._sampler, on_token)

    def _drafter(self, ids: Sequence[int], room: int) -> speculation.Drafter:
        if not self._draft_tokens:
            return Lookup(ids)
        if self._draft is None:
            own = {
                name: one for name, one in self._settings.items() if name not in ("draft", "prompt_lookup")
            }
            self._draft = LlamaSession(self._lib, self._path.with_name(speculation.DRAFT), own, self._threads)
        return speculation.DraftModel(self._draft, ids, room)

    def prepare(self, length: int) -> None:
        """Provide an empty context that holds `length` tokens."""
        self._prepare(length)

    def follow(self, ids: Sequence[int], begin: int, only_last: bool = False) -> list[int]:
        """Decode ids from position `begin` on, and return the likeliest token after each, or after the last only."""
        found: list[int] = []
        if self._fed is None:
            self._fed = self._lib.llama_batch_init(self._batch, 0, 1)
        for start in range(0, len(ids), self._batch):
            part = ids[start : start + self._batch]
            _fill(self._fed, part, begin + start)
            if only_last:
                for index in range(len(part)):
                    self._fed.logits[index] = begin + start + index == begin + len(ids) - 1
            self._decode(self._fed)
            found += [
                int(self._lib.llama_sampler_sample(self._sampler, self._context, index))
                for index in range(len(part))
                if self._fed.logits[index]
            ]
        return found

    def forget(self, begin: int) -> None:
        """Take the tokens from position `begin` on out of the memory. Raises JobError if it cannot."""
        memory = self._lib.llama_get_memory(self._context)
        if not self._lib.llama_memory_seq_rm(memory, 0, begin, -1):
            raise speculation.cannot_forget()

    def sample(
        self,
        ids: Sequence[int],
        count: int,
        sampling: Sampling,
        on_token: Callable[[int], bool] | None = None,
    ) -> Generation:
        """Draw tokens with libllama's own samplers, in the order of transformers."""
        self._check(ids)
        chain = sampler_chain(self._lib, sampling, self._vocabulary, len(ids) + count)
        try:
            for token in ids:  # the penalty counts those of the prompt too
                self._lib.llama_sampler_accept(chain, token)
            return self._generate(ids, count, chain, on_token)
        finally:
            self._lib.llama_sampler_free(chain)

    def _generate(
        self, ids: Sequence[int], count: int, sampler: Any, on_token: Callable[[int], bool] | None
    ) -> Generation:
        self._check(ids)
        lib, generated, times = self._lib, list[int](), list[float]()
        started = time.perf_counter()
        self._prepare(len(ids) + count)
        prompt = (lib.llama_token * len(ids))(*ids)
        for start in range(0, len(ids), self._batch):
            size = min(self._batch, len(ids) - start)
            offset = ctypes.byref(prompt, start * ctypes.sizeof(lib.llama_token))
            self._decode(lib.llama_batch_get_one(ctypes.cast(offset, lib.llama_token_p), size))
        last = (lib.llama_token * 1)()
        batch = lib.llama_batch_get_one(last, 1)
        while len(generated) < count:
            if generated:
                self._decode(batch)
            last[0] = lib.llama_sampler_sample(sampler, self._context, -1)
            generated.append(last[0])
            times.append(time.perf_counter())
            if on_token is not None and on_token(generated[-1]):
                break
        return Generation(started, generated, times)

    def generate_many(self, prompts: Sequence[Sequence[int]], count: int) -> list[Generation]:
        """Generate for all prompts at once: one context with a KV cache for each, one batch for each step of all."""
        for ids in prompts:
            self._check(ids)
        started = time.perf_counter()
        self._prepare(max(map(len, prompts)) + count, len(prompts))
        generated: list[list[int]] = [[] for _ in prompts]
        times: list[list[float]] = [[] for _ in prompts]
        positions = [(row, at) for row, ids in enumerate(prompts) for at in range(len(ids))]
        batch = self._lib.llama_batch_init(max(self._batch, len(prompts)), 0, 1)
        try:
            for begin in range(0, len(positions), self._batch):
                part = positions[begin : begin + self._batch]
                last = [at == len(prompts[row]) - 1 for row, at in part]
                fed = [(row, at, prompts[row][at]) for row, at in part]
                self._step(batch, fed, last, generated, times)
            for step in range(count - 1):
                fed = [(row, len(ids) + step, generated[row][-1]) for row, ids in enumerate(prompts)]
                self._step(batch, fed, [True] * len(fed), generated, times)
        finally:
            self._lib.llama_batch_free(batch)
        return [Generation(started, *pair) for pair in zip(generated, times, strict=True)]

    def _step(
        self,
        batch: Any,
        fed: Sequence[tuple[int, int, int]],
        wanted: Sequence[bool],
        generated: list[list[int]],
        times: list[list[float]],
    ) -> None:
        """Decode a batch of (sequence, position, token), and record the next token of each that is `wanted`."""
        batch.n_tokens = len(fed)
        for index, ((row, at, token), want) in enumerate(zip(fed, wanted, strict=True)):
            batch.token[index], batch.pos[index] = token, at
            batch.n_seq_id[index], batch.seq_id[index][0] = 1, row
            batch.logits[index] = want
        self._decode(batch)
        for index, ((row, _, _), want) in enumerate(zip(fed, wanted, strict=True)):
            if want:
                generated[row].append(self._lib.llama_sampler_sample(self._sampler, self._context, index))
                times[row].append(time.perf_counter())

    def device_bytes(self) -> int | None:
        """Return the bytes of all buffers on the session's device, as libllama's log tells them."""
        device = self._settings.get("device", CPU)
        return None if device == CPU else self._log.bytes_on(device)

    def close(self) -> None:
        """Free the context, the sampler and the model. A second call does nothing."""
        if self._draft is not None:
            self._draft.close()
            self._draft = None
        self._free_context()
        if self._sampler:
            self._lib.llama_sampler_free(self._sampler)
        if self._model:
            self._lib.llama_model_free(self._model)
        self._sampler = self._model = None

    def _check(self, ids: Sequence[int]) -> None:
        if not ids:
            raise InputError("there are no token ids")
        if (low := min(ids)) < 0 or max(ids) >= self._vocabulary:
            bad = low if low < 0 else max(ids)
            raise InputError(f"token id {bad} is outside the vocabulary of {self._vocabulary}")

    def _prepare(self, length: int, sequences: int = 1) -> None:
        """Provide an empty context that holds `length` tokens of each of `sequences`."""
        if length > self._capacity or sequences != self._sequences:
            self._open_context(length, sequences)
        # Mark the cells empty without zeroing their bytes, since zeroing would be timed as prefill.
        self._lib.llama_memory_clear(self._lib.llama_get_memory(self._context), False)

    def _open_context(self, length: int, sequences: int) -> None:
        self._free_context()
        params = self._parameters(length, sequences)
        self._context = self._lib.llama_init_from_model(self._model, params)
        if not self._context:
            raise EdgehoneError(
                f"llama.cpp cannot open a context of {params.n_ctx} tokens "
                f"with {self._settings or 'its defaults'}: {self._log.cause}"
            )
        adapter.apply(self._lib, self._context, self._adapter)
        self._capacity, self._batch = int(params.n_ctx) // sequences, int(params.n_batch)
        self._sequences = sequences

    def _parameters(self, length: int, sequences: int) -> Any:
        params = self._lib.llama_context_default_params()
        # Separate caches per sequence: in a unified cache each sequence would scan the cells of all.
        params.n_seq_max, params.n_ctx = sequences, sequences * -(-length // _CONTEXT_STEP) * _CONTEXT_STEP
        params.n_batch = min(max(int(self._settings.get("batch", _BATCH)), sequences), params.n_ctx)
        params.n_ubatch = min(int(self._settings.get("ubatch", _MICROBATCH)), params.n_batch)
        params.n_threads_batch = self._threads
        params.n_threads = int(self._settings.get("decode_threads", self._threads))
        params.type_k = params.type_v = self._kv_type
        params.no_perf = True
        flash = self._settings.get("flash_attention")
        if flash is not None:
            params.flash_attn_type = int(bool(flash))
        return params

    def _free_context(self) -> None:
        if self._fed is not None:
            self._lib.llama_batch_free(self._fed)
            self._fed = None
        if self._context:
            self._lib.llama_free(self._context)
        self._context, self._capacity = None, 0
        self._log.forget_context()

    def _decode(self, batch: Any) -> None:
        code = self._lib.llama_decode(self._context, batch)
        if code:
            raise EdgehoneError(f"llama.cpp cannot decode (code {code}): {self._log.cause}")


def _set_load(library: Any, params: Any, name: str) -> None:
    if name not in _LOADS:
        raise InputError(f"load is '{name}'", hint=f"use one of {', '.join(_LOADS)}")
    if hasattr(library, "LLAMA_LOAD_MODE_MMAP"):
        params.load_mode = getattr(library, f"LLAMA_LOAD_MODE_{_LOADS[name]}")
    else:  # versions of llama.cpp without load modes
        params.use_mmap, params.use_mlock = name != "read", name == "mlock"


def _kv_type(library: Any, name: str) -> int:
    if name not in _KV_TYPES:
        raise InputError(f"kv_cache is '{name}'", hint=f"use one of {', '.join(_KV_TYPES)}")
    return int(getattr(library, f"GGML_TYPE_{name.upper()}"))


def _fill(batch: Any, ids: Sequence[int], start: int) -> None:
    """Fill a batch with consecutive positions of sequence 0, with logits for each."""
    batch.n_tokens = len(ids)
    for index, token in enumerate(ids):
        batch.token[index] = token
        batch.pos[index] = start + index
        batch.n_seq_id[index] = 1
        batch.seq_id[index][0] = 0
        batch.logits[index] = 1
