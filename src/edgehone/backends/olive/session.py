"""An ONNX language model, scored by ONNX Runtime and generated from by ONNX Runtime GenAI (worker side).

Each is loaded on first use, so that a process that only generates holds only what generation needs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.olive.build import quiet
from edgehone.backends.onnxruntime.session import session_options
from edgehone.backends.sessions import Generation, Sampling
from edgehone.backends.shared.ids import check_ids
from edgehone.core.errors import JobError

if TYPE_CHECKING:
    from edgehone.backends.sessions import Logits

PROVIDER = "CPUExecutionProvider"
# Minimum number of chunks per window, so that the logits of later chunks depend on the KV cache.
_PARTS = 4
_LOGITS_BYTES = 64 << 20
# Overrides the model's own sampling defaults in measurements.
_GREEDY = {
    "do_sample": False,
    "num_beams": 1,
    "min_length": 0,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "past_present_share_buffer": True,
}


class OliveSession:
    """A causal language model in the folder layout of ONNX Runtime GenAI."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], threads: int) -> None:
        self._folder = folder
        self._settings = settings
        self._threads = threads
        config = json.loads((folder / "genai_config.json").read_text("utf-8"))
        self._config: dict[str, Any] = config["model"]
        self._runtime: Any = None
        self._model: Any = None
        self._endless = False
        self._tokenizer: Any = None

    def tokenize(self, text: str) -> list[int]:
        """Tokenize with ONNX Runtime GenAI's tokenizer, including the prefix tokens that its post-processor adds."""
        return [int(i) for i in self._tokens().encode(text)]

    def detokenize(self, ids: Sequence[int]) -> str:
        """Return the text without special tokens."""
        import numpy as np

        return str(self._tokens().decode(np.array(list(ids), np.int32)))

    def _tokens(self) -> Any:
        if self._tokenizer is None:
            quiet("onnxruntime_genai")
            import onnxruntime_genai as genai

            self._tokenizer = genai.Tokenizer(str(self._folder))
            # By default it omits even the BOS that the original's tokenizer adds.
            self._tokenizer.update_options(add_special_tokens="true", skip_special_tokens="true")
        return self._tokenizer

    def score(self, ids: Sequence[int]) -> Iterator[Logits]:
        """Yield logits from an empty cache; the ids are fed in chunks through it."""
        import numpy as np

        check_ids(ids, self._config["vocab_size"])
        runtime = self._scorer()
        input_names = {port.name for port in runtime.get_inputs()}
        outputs = [port.name for port in runtime.get_outputs()]
        cache = self._empty_cache(input_names)
        rows = min(-(-len(ids) // _PARTS), _LOGITS_BYTES // (4 * self._config["vocab_size"]))
        for begin in range(0, len(ids), max(1, rows)):
            part = ids[begin : begin + max(1, rows)]
            end = begin + len(part)
            arrays = {
                "input_ids": np.array([part], np.int64),
                "attention_mask": np.ones((1, end), np.int64),
                "position_ids": np.arange(begin, end, dtype=np.int64)[None],
            }
            feeds = {name: arrays[name] for name in input_names & arrays.keys()}
            results = dict(zip(outputs, runtime.run(outputs, {**feeds, **cache}), strict=True))
            yield np.asarray(results["logits"][0], np.float32)
            cache = {past: results[_present(past)] for past in cache}

    def _empty_cache(self, input_names: set[str]) -> dict[str, Any]:
        """Return keys and values of zero positions. Raises JobError for a graph with unknown inputs."""
        import numpy as np

        decoder = self._config["decoder"]
        # The graph's dimensions are symbolic; only the configuration has the numbers.
        shape = (1, decoder["num_key_value_heads"], 0, decoder["head_size"])
        cache = {
            name: np.zeros(shape, np.float32) for name in input_names if name.startswith("past_key_values.")
        }
        if unknown := sorted(input_names - cache.keys() - {"input_ids", "attention_mask", "position_ids"}):
            raise JobError(f"the graph has unknown inputs: {', '.join(unknown)}")
        return cache

    def _scorer(self) -> Any:
        if self._runtime is None:
            quiet("onnxruntime")
            import onnxruntime

            options = session_options(self._settings, self._threads)
            path = self._folder / self._config["decoder"]["filename"]
            self._runtime = onnxruntime.InferenceSession(path, options, providers=[PROVIDER])
        return self._runtime

    def generate(
        self, ids: Sequence[int], count: int, on_token: Callable[[int], bool] | None = None
    ) -> Generation:
        """Generate greedily with ONNX Runtime GenAI's own loop, one step per token."""
        return self._generate(ids, count, _GREEDY, on_token)

    def sample(
        self,
        ids: Sequence[int],
        count: int,
        sampling: Sampling,
        on_token: Callable[[int], bool] | None = None,
    ) -> Generation:
        """Draw tokens with ONNX Runtime GenAI's own sampler."""
        options: dict[str, Any] = {**_GREEDY, "repetition_penalty": sampling.repetition_penalty}
        if sampling.temperature:
            options |= {"do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p}
            # Its seed is an int; 0 for top_k means all.
            options |= {"top_k": sampling.top_k, "random_seed": sampling.seed % (1 << 31)}
        return self._generate(ids, count, options, on_token)

    def _generate(
        self,
        ids: Sequence[int],
        count: int,
        options: Mapping[str, Any],
        on_token: Callable[[int], bool] | None,
    ) -> Generation:
        check_ids(ids, self._config["vocab_size"])
        model = self._generator()
        import numpy as np
        import onnxruntime_genai as genai

        generated: list[int] = []
        times: list[float] = []
        started = time.perf_counter()
        parameters = genai.GeneratorParams(model)
        parameters.set_search_options(max_length=len(ids) + count, **options)
        generator = genai.Generator(model, parameters)
        generator.append_tokens(np.array(list(ids), np.int32))
        for _ in range(count):
            if generator.is_done():
                # The last token ended the text, so the generator did not append it: rewind and append it as input.
                generator.rewind_to(len(ids) + len(generated) - 1)
                generator.append_tokens(np.array(generated[-1:], np.int32))
            generator.generate_next_token()
            generated.append(int(generator.get_next_tokens()[0]))
            times.append(time.perf_counter())
            if on_token is not None and on_token(generated[-1]):
                break
        return Generation(started, generated, times)

    def generate_many(self, prompts: Sequence[Sequence[int]], count: int) -> list[Generation]:
        """Generate greedily for a batch with ONNX Runtime GenAI's loop; prompts of each length form a separate batch.

        Raises JobError if the model generates the id that stands in for end-of-text.
        """
        for ids in prompts:
            check_ids(ids, self._config["vocab_size"])
        self._generator(endless=True)
        started = time.perf_counter()
        generations: dict[int, Generation] = {}
        for length in sorted({len(ids) for ids in prompts}):
            rows = [row for row, ids in enumerate(prompts) if len(ids) == length]
            sequences, times = self._run_batch([list(prompts[row]) for row in rows], count)
            generations |= {
                row: Generation(started, ids, times) for row, ids in zip(rows, sequences, strict=True)
            }
        return [generations[row] for row in range(len(prompts))]

    def _run_batch(self, prompts: list[list[int]], count: int) -> tuple[list[list[int]], list[float]]:
        """Return the new ids for prompts of one length, and the time of each step."""
        import numpy as np
        import onnxruntime_genai as genai

        parameters = genai.GeneratorParams(self._generator(endless=True))
        length = len(prompts[0]) + count
        parameters.set_search_options(batch_size=len(prompts), max_length=length, **_GREEDY)
        generator = genai.Generator(self._model, parameters)
        generator.append_tokens(np.array(prompts, np.int32))
        steps: list[list[int]] = []
        times: list[float] = []
        while len(steps) < count and not generator.is_done():
            generator.generate_next_token()
            steps.append([int(i) for i in generator.get_next_tokens()])
            times.append(time.perf_counter())
        if any(self._stand_in in step for step in steps[:-1]):
            raise JobError(f"the model generated id {self._stand_in}, which ends a sequence in a batch")
        return [list(row) for row in zip(*steps, strict=True)], times

    @property
    def _stand_in(self) -> int:
        """The id used as end-of-text in a batch.

        In a batch, a sequence that reached its end is only padded from there on and cannot be rewound, so
        end-of-text is replaced by the last id, which is practically never generated.
        """
        return int(self._config["vocab_size"]) - 1

    def _generator(self, endless: bool = False) -> Any:
        if self._model is None or self._endless is not endless:
            more = {"model": {"eos_token_id": [self._stand_in]}} if endless else {}
            self._model, self._endless = (
                open_model(self._folder, self._settings, self._threads, more),
                endless,
            )
        return self._model

    def close(self) -> None:
        """Release the loaded models and the tokenizer."""
        self._runtime = self._model = self._tokenizer = None


def open_model(folder: Path, settings: Mapping[str, Any], threads: int, overlay: Mapping[str, Any]) -> Any:
    """Return the model for ONNX Runtime GenAI, with `overlay` over its genai_config.json."""
    quiet("onnxruntime_genai")
    import onnxruntime_genai as genai

    options: dict[str, Any] = {"intra_op_num_threads": threads, "log_severity_level": 3}
    if not settings.get("arena", True):
        options["enable_cpu_mem_arena"] = False
    if not settings.get("spinning", True):
        options["session.intra_op.allow_spinning"] = "0"
    if prefix := settings.get("profile"):
        # The operators' times are written there when the model is closed.
        options["enable_profiling"] = prefix
    decoder = {"decoder": {"session_options": options}}
    config = genai.Config(str(folder))
    config.overlay(json.dumps({**overlay, "model": {**decoder, **overlay.get("model", {})}}))
    return genai.Model(config)


def _present(past: str) -> str:
    return past.replace("past_key_values.", "present.", 1)
