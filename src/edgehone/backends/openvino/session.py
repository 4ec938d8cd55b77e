"""A language model in IR: scored by OpenVINO itself, generated from by OpenVINO GenAI (worker side).

Each is loaded on first use, so that a process that only generates holds only what generation needs. Both get the
same properties and the same attention implementation, so that the model that is verified is the model that runs.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.openvino import prompt_lookup
from edgehone.backends.openvino.placement import CPU, device_properties
from edgehone.backends.openvino.stateful import token_inputs
from edgehone.backends.sessions import Generation, Sampling
from edgehone.backends.shared.ids import check_ids, padded
from edgehone.core.errors import JobError

if TYPE_CHECKING:
    from edgehone.backends.sessions import Logits

# Minimum number of chunks per window: the logits of later chunks depend on the KV cache and its precision.
_PARTS = 4
_LOGITS_BYTES = 64 << 20


# Settings that every session supports, and the CPU plugin's property for each.
COMMON = {
    "hint": "PERFORMANCE_HINT",
    "streams": "NUM_STREAMS",
    "inference_precision": "INFERENCE_PRECISION_HINT",
    "pinning": "ENABLE_CPU_PINNING",
    "mmap": "ENABLE_MMAP",
    "activation_group": "DYNAMIC_QUANTIZATION_GROUP_SIZE",
}


def common(settings: Mapping[str, Any], threads: int) -> dict[str, Any]:
    """Return the CPU plugin's properties for any session: one request at a time, for the lowest latency."""
    properties: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads,
    }
    if settings.get("hint", "LATENCY") != "LATENCY" and "streams" not in settings:
        del properties["NUM_STREAMS"]  # the hint then decides the number of streams
    return properties | {COMMON[name]: settings[name] for name in COMMON.keys() & settings.keys()}


def properties(settings: Mapping[str, Any], threads: int) -> dict[str, Any]:
    """Return the properties of a session with a KV cache."""
    return {**common(settings, threads), "KV_CACHE_PRECISION": settings.get("kv_cache", "u8")}


class OpenVinoSession:
    """A stateful causal language model in IR."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], threads: int) -> None:
        self._folder = folder
        self._device = str(settings.get("device", CPU))
        self._properties = device_properties(settings, properties(settings, threads))
        self._vocabulary = vocabulary(folder)
        self._request: Any = None
        self._pipeline: Any = None
        self._tokenizer: Any = None
        self._speculating: Any = None
        self._drafted = int(settings.get("prompt_lookup", 0))

    def tokenize(self, text: str) -> list[int]:
        """Tokenize with openvino_tokenizers, including the prefix tokens that it adds by default."""
        return [int(i) for i in self._tokens().encode(text).input_ids.data[0]]

    def detokenize(self, ids: Sequence[int]) -> str:
        """Return the text without special tokens."""
        return str(self._tokens().decode(list(ids), skip_special_tokens=True))

    def _tokens(self) -> Any:
        if self._tokenizer is None:
            import openvino_genai

            self._tokenizer = openvino_genai.Tokenizer(str(self._folder))
        return self._tokenizer

    def score(self, ids: Sequence[int]) -> Iterator[Logits]:
        """Yield logits from an empty state; the ids are fed in chunks through the KV cache."""
        import numpy as np

        check_ids(ids, self._vocabulary)
        request = self._scorer()
        request.reset_state()
        vocabulary = request.model_outputs[0].get_partial_shape()[2]
        rows = max(1, -(-len(ids) // _PARTS))
        if vocabulary.is_static:
            rows = min(rows, max(1, _LOGITS_BYTES // (4 * vocabulary.get_length())))
        for begin in range(0, len(ids), rows):
            part = ids[begin : begin + rows]
            request.infer(token_inputs(np.array([part], np.int64), begin, request.model_inputs))
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
        """Generate greedily with OpenVINO GenAI's own loop. Raises JobError if it ends early."""
        return self._generate(ids, count, {"do_sample": False}, on_token)

    def sample(
        self,
        ids: Sequence[int],
        count: int,
        sampling: Sampling,
        on_token: Callable[[int], bool] | None = None,
    ) -> Generation:
        """Draw tokens with OpenVINO GenAI's own sampler. Raises JobError if it ends early."""
        return self._generate(ids, count, _sampling(sampling), on_token)

    def _generate(
        self,
        ids: Sequence[int],
        count: int,
        settings: Mapping[str, Any],
        on_token: Callable[[int], bool] | None,
    ) -> Generation:
        import numpy as np
        import openvino as ov
        import openvino_genai as genai

        check_ids(ids, self._vocabulary)
        drafted = 0 if settings.get("do_sample") else self._drafted
        pipeline = self._generator() if not drafted else self._speculator()
        clock = _token_clock(on_token)
        config = genai.GenerationConfig(max_new_tokens=count, ignore_eos=True, **settings)
        if drafted:
            prompt_lookup.draft_from_prompt(config, drafted)
        prompt = genai.TokenizedInputs(
            ov.Tensor(np.array([list(ids)], np.int64)), ov.Tensor(np.ones((1, len(ids)), np.int64))
        )
        started = time.perf_counter()
        pipeline.generate(prompt, config, clock)
        if len(clock.ids) < count and not clock.stopped:
            raise JobError(f"OpenVINO GenAI ended after {len(clock.ids)} of {count} tokens")
        return Generation(started, clock.ids, clock.times)

    def generate_many(self, prompts: Sequence[Sequence[int]], count: int) -> list[Generation]:
        """Generate for a batch with the same loop; shorter prompts are padded on the left.

        OpenVINO GenAI streams single sequences only, so times of a batch come from its own metrics.
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
        # Token times are in milliseconds on GenAI's own clock; the time to the first token is in microseconds.
        first = started + raw.m_times_to_first_token[0] / 1e6
        times = [first + (moment - raw.m_new_token_times[0]) / 1e3 for moment in raw.m_new_token_times]
        return [Generation(started, [int(i) for i in ids], times) for ids in result.tokens]

    def _generator(self) -> Any:
        if self._pipeline is None:
            import openvino_genai as genai

            # SDPA instead of paged attention: the same attention as in `score`, and no prefix cache that would
            # answer a repeated prompt from memory.
            self._pipeline = genai.LLMPipeline(
                str(self._folder), self._device, ATTENTION_BACKEND="SDPA", **self._properties
            )
            # Ignore the model's own sampling defaults and stop strings in measurements.
            self._pipeline.set_generation_config(genai.GenerationConfig(max_new_tokens=1, ignore_eos=True))
        return self._pipeline

    def _speculator(self) -> Any:
        """Return a pipeline that drafts from the prompt. OpenVINO GenAI has it with paged attention only."""
        if self._speculating is None:
            self._speculating = prompt_lookup.pipeline(self._folder, self._device, self._properties)
        return self._speculating

    def close(self) -> None:
        """Release the loaded models and the tokenizer."""
        self._request = self._pipeline = self._tokenizer = self._speculating = None


def _sampling(sampling: Sampling) -> dict[str, Any]:
    """Return the settings of OpenVINO GenAI's generation."""
    penalty = {"repetition_penalty": sampling.repetition_penalty}
    if sampling.temperature == 0:
        return {"do_sample": False, **penalty}
    drawn: dict[str, Any] = {"temperature": sampling.temperature, "top_p": sampling.top_p}
    if sampling.top_k:
        drawn["top_k"] = sampling.top_k
    return {"do_sample": True, "rng_seed": sampling.seed, **drawn, **penalty}


def vocabulary(folder: Path) -> int:
    """Return the vocabulary size from config.json, or sys.maxsize if it is not given (OpenVINO then checks the ids)."""
    path = folder / "config.json"
    config = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    return int(config.get("vocab_size") or config.get("text_config", {}).get("vocab_size") or sys.maxsize)


def _token_clock(on_token: Callable[[int], bool] | None) -> Any:
    """Return a streamer that records each token and its time.

    Defined inside a function because its base class comes from the framework.
    """
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
            """Required by the base class. No-op: no tokens are held back."""

    return Clock()
