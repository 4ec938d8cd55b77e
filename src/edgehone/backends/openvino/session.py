"""An opened IR: scored by OpenVINO itself, generated with by OpenVINO GenAI (worker side).

Each is loaded when first asked for, so that a process that only generates holds only what that needs.
Both get the same properties and the same attention, so that what is proven is what runs.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.openvino.placement import CPU, opened
from edgehone.backends.sessions import (
    Generation,
)
from edgehone.backends.shared.ids import check_ids, padded
from edgehone.core.errors import JobError

if TYPE_CHECKING:
    from edgehone.backends.sessions import (
        Logits,
    )

# A window is fed in at least so many parts, so that the KV cache's precision has its say in the logits.
_PARTS = 4
_LOGITS_BYTES = 64 << 20


# Settings of every session, and the CPU plugin's property that each is.
COMMON = {
    "hint": "PERFORMANCE_HINT",
    "streams": "NUM_STREAMS",
    "inference_precision": "INFERENCE_PRECISION_HINT",
    "pinning": "ENABLE_CPU_PINNING",
    "mmap": "ENABLE_MMAP",
    "activation_group": "DYNAMIC_QUANTIZATION_GROUP_SIZE",
}


def common(settings: Mapping[str, Any], threads: int) -> dict[str, Any]:
    """The CPU plugin's properties of any session: one request at a time, as fast as it can be."""
    made: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads,
    }
    if settings.get("hint", "LATENCY") != "LATENCY" and "streams" not in settings:
        del made["NUM_STREAMS"]  # how many streams is then what the hint decides
    return made | {COMMON[name]: settings[name] for name in COMMON.keys() & settings.keys()}


def properties(settings: Mapping[str, Any], threads: int) -> dict[str, Any]:
    """Those of a session with a KV cache."""
    return {**common(settings, threads), "KV_CACHE_PRECISION": settings.get("kv_cache", "u8")}


class OpenVinoSession:
    """A stateful causal language model in IR."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], threads: int) -> None:
        self._folder = folder
        self._device = str(settings.get("device", CPU))
        self._properties = opened(settings, properties(settings, threads))
        self._vocabulary = vocabulary(folder)
        self._request: Any = None
        self._pipeline: Any = None
        self._tokenizer: Any = None

    def tokenize(self, text: str) -> list[int]:
        """Ids by openvino_tokenizers, with whatever it puts in front by itself."""
        return [int(i) for i in self._tokens().encode(text).input_ids.data[0]]

    def detokenize(self, ids: Sequence[int]) -> str:
        """The text, special tokens left out."""
        return str(self._tokens().decode(list(ids), skip_special_tokens=True))

    def _tokens(self) -> Any:
        if self._tokenizer is None:
            import openvino_genai

            self._tokenizer = openvino_genai.Tokenizer(str(self._folder))
        return self._tokenizer

    def score(self, ids: Sequence[int]) -> Iterator[Logits]:
        """Logits from an empty state, the ids fed in parts through the KV cache."""
        import numpy as np

        check_ids(ids, self._vocabulary)
        request = self._scorer()
        request.reset_state()
        inputs = {port.get_any_name() for port in request.model_inputs}
        vocabulary = request.model_outputs[0].get_partial_shape()[2]
        rows = max(1, -(-len(ids) // _PARTS))
        if vocabulary.is_static:
            rows = min(rows, max(1, _LOGITS_BYTES // (4 * vocabulary.get_length())))
        for begin in range(0, len(ids), rows):
            part = ids[begin : begin + rows]
            end = begin + len(part)
            made = {
                "input_ids": np.array([part], np.int64),
                "attention_mask": np.ones((1, end), np.int64),
                "position_ids": np.arange(begin, end, dtype=np.int64)[None],
                "beam_idx": np.zeros(1, np.int32),
            }
            request.infer({name: made[name] for name in inputs})
            yield np.array(request.get_tensor("logits").data[0], np.float32)

    def _scorer(self) -> Any:
        if self._request is None:
            import openvino as ov

            core = ov.Core()
            path = self._folder / "openvino_model.xml"
            self._request = core.compile_model(path, self._device, self._properties).create_infer_request()
        return self._request

    def generate(
        self, ids: Sequence[int], count: int, on_token: Callable[[int], bool] | None = None
    ) -> Generation:
        """OpenVINO GenAI's own greedy loop. JobError when it ends early."""
        import numpy as np
        import openvino as ov
        import openvino_genai as genai

        check_ids(ids, self._vocabulary)
        pipeline = self._generator()
        clock = _clock(on_token)
        config = genai.GenerationConfig(max_new_tokens=count, ignore_eos=True, do_sample=False)
        prompt = genai.TokenizedInputs(
            ov.Tensor(np.array([list(ids)], np.int64)), ov.Tensor(np.ones((1, len(ids)), np.int64))
        )
        started = time.perf_counter()
        pipeline.generate(prompt, config, clock)
        if len(clock.ids) < count and not clock.stopped:
            raise JobError(f"OpenVINO GenAI ended after {len(clock.ids)} of {count} tokens")
        return Generation(started, clock.ids, clock.times)

    def generate_many(self, prompts: Sequence[Sequence[int]], count: int) -> list[Generation]:
        """The same loop over a batch, shorter prompts padded on the left.

        OpenVINO GenAI streams one sequence only; of a batch it notes the moments itself.
        """
        import openvino as ov
        import openvino_genai as genai

        for ids in prompts:
            check_ids(ids, self._vocabulary)
        pipeline = self._generator()
        config = genai.GenerationConfig(max_new_tokens=count, ignore_eos=True, do_sample=False)
        fed = genai.TokenizedInputs(*(ov.Tensor(array) for array in padded(prompts)))
        started = time.perf_counter()
        result = pipeline.generate(fed, config)
        raw = result.perf_metrics.raw_metrics
        # Milliseconds of a clock of its own; the first token came so many microseconds after the start.
        first = started + raw.m_times_to_first_token[0] / 1e6
        times = [first + (moment - raw.m_new_token_times[0]) / 1e3 for moment in raw.m_new_token_times]
        return [Generation(started, [int(i) for i in ids], times) for ids in result.tokens]

    def _generator(self) -> Any:
        if self._pipeline is None:
            import openvino_genai as genai

            # SDPA and not PA (paged attention): the same attention as in `score`, and no prefix cache that
            # would answer a repeated prompt from memory.
            self._pipeline = genai.LLMPipeline(
                str(self._folder), self._device, ATTENTION_BACKEND="SDPA", **self._properties
            )
            # The model's own sampling defaults and stop strings have no part in a measurement.
            self._pipeline.set_generation_config(genai.GenerationConfig(max_new_tokens=1, ignore_eos=True))
        return self._pipeline

    def close(self) -> None:
        """Drop what was loaded."""
        self._request = self._pipeline = self._tokenizer = None


def vocabulary(folder: Path) -> int:
    """Entries of the vocabulary by config.json; where that does not say, any id is left to OpenVINO."""
    path = folder / "config.json"
    config = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    return int(config.get("vocab_size") or config.get("text_config", {}).get("vocab_size") or sys.maxsize)


def _clock(on_token: Callable[[int], bool] | None) -> Any:
    """A streamer that notes each token and its moment; the base class comes with the framework."""
    import openvino_genai as genai

    class Clock(genai.StreamerBase):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.ids: list[int] = []
            self.times: list[float] = []
            self.stopped = False

        def write(self, token: int | Sequence[int]) -> Any:
            moment = time.perf_counter()
            for one in [token] if isinstance(token, int) else token:
                self.ids.append(one)
                self.times.append(moment)
                self.stopped = self.stopped or (on_token is not None and on_token(one))
            return genai.StreamingStatus.STOP if self.stopped else genai.StreamingStatus.RUNNING

        def end(self) -> None:
            """Nothing is held back."""

    return Clock()
