"""An opened ONNX language model: scored by ONNX Runtime, generated with by ONNX Runtime GenAI (worker side).

Each is loaded when first asked for, so that a process that only generates holds only what that needs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.olive.build import quiet
from edgehone.backends.onnxruntime.session import session_options
from edgehone.backends.sessions import (
    Generation,
)
from edgehone.backends.shared.ids import check_ids
from edgehone.core.errors import JobError

if TYPE_CHECKING:
    from edgehone.backends.sessions import (
        Logits,
    )

PROVIDER = "CPUExecutionProvider"
# A window is fed in at least so many parts, so that the KV cache has its say in the logits.
_PARTS = 4
_LOGITS_BYTES = 64 << 20
# The model's own sampling defaults have no part in a measurement.
_GREEDY = {
    "do_sample": False,
    "num_beams": 1,
    "min_length": 0,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "past_present_share_buffer": True,
}


class OliveSession:
    """A causal language model in the layout of ONNX Runtime GenAI."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], threads: int) -> None:
        self._folder = folder
        self._asked = settings
        self._threads = threads
        self._settings: dict[str, Any] = json.loads((folder / "genai_config.json").read_text("utf-8"))[
            "model"
        ]
        self._runtime: Any = None
        self._model: Any = None
        self._endless = False
        self._tokenizer: Any = None

    def tokenize(self, text: str) -> list[int]:
        """Ids by ONNX Runtime GenAI's tokenizer, with what its post-processor puts in front."""
        return [int(i) for i in self._tokens().encode(text)]

    def detokenize(self, ids: Sequence[int]) -> str:
        """The text, special tokens left out."""
        import numpy as np

        return str(self._tokens().decode(np.array(list(ids), np.int32)))

    def _tokens(self) -> Any:
        if self._tokenizer is None:
            quiet("onnxruntime_genai")
            import onnxruntime_genai as genai

            self._tokenizer = genai.Tokenizer(str(self._folder))
            # By default it leaves out even the BOS that the original's tokenizer puts in front.
            self._tokenizer.update_options(add_special_tokens="true", skip_special_tokens="true")
        return self._tokenizer

    def score(self, ids: Sequence[int]) -> Iterator[Logits]:
        """Logits from an empty cache, the ids fed in parts through it."""
        import numpy as np

        check_ids(ids, self._settings["vocab_size"])
        runtime = self._scorer()
        wanted = {port.name for port in runtime.get_inputs()}
        outputs = [port.name for port in runtime.get_outputs()]
        cache = self._empty_cache(wanted)
        rows = min(-(-len(ids) // _PARTS), _LOGITS_BYTES // (4 * self._settings["vocab_size"]))
        for begin in range(0, len(ids), max(1, rows)):
            part = ids[begin : begin + max(1, rows)]
            end = begin + len(part)
            made = {
                "input_ids": np.array([part], np.int64),
                "attention_mask": np.ones((1, end), np.int64),
                "position_ids": np.arange(begin, end, dtype=np.int64)[None],
            }
            feeds = {name: made[name] for name in wanted & made.keys()}
            results = dict(zip(outputs, runtime.run(outputs, {**feeds, **cache}), strict=True))
            yield np.asarray(results["logits"][0], np.float32)
            cache = {past: results[_present(past)] for past in cache}

    def _empty_cache(self, wanted: set[str]) -> dict[str, Any]:
        """Keys and values of no position yet. JobError for a model that keeps another state."""
        import numpy as np

        decoder = self._settings["decoder"]
        # The graph's own shapes are names; the numbers are in the configuration only.
        shape = (1, decoder["num_key_value_heads"], 0, decoder["head_size"])
        cache = {name: np.zeros(shape, np.float32) for name in wanted if name.startswith("past_key_values.")}
        if unknown := sorted(wanted - cache.keys() - {"input_ids", "attention_mask", "position_ids"}):
            raise JobError(f"the graph asks for inputs that are not known: {', '.join(unknown)}")
        return cache

    def _scorer(self) -> Any:
        if self._runtime is None:
            quiet("onnxruntime")
            import onnxruntime

            options = session_options(self._asked, self._threads)
            path = self._folder / self._settings["decoder"]["filename"]
            self._runtime = onnxruntime.InferenceSession(path, options, providers=[PROVIDER])
        return self._runtime

    def generate(
        self, ids: Sequence[int], count: int, on_token: Callable[[int], bool] | None = None
    ) -> Generation:
        """ONNX Runtime GenAI's own greedy loop, one step a token."""
        check_ids(ids, self._settings["vocab_size"])
        model = self._generator()
        import numpy as np
        import onnxruntime_genai as genai

        made: list[int] = []
        times: list[float] = []
        started = time.perf_counter()
        parameters = genai.GeneratorParams(model)
        parameters.set_search_options(max_length=len(ids) + count, **_GREEDY)
        generator = genai.Generator(model, parameters)
        generator.append_tokens(np.array(list(ids), np.int32))
        for _ in range(count):
            if generator.is_done():
                # It was an end-of-text, which it did not take in: that is what its next step would do.
                generator.rewind_to(len(ids) + len(made) - 1)
                generator.append_tokens(np.array(made[-1:], np.int32))
            generator.generate_next_token()
            made.append(int(generator.get_next_tokens()[0]))
            times.append(time.perf_counter())
            if on_token is not None and on_token(made[-1]):
                break
        return Generation(started, made, times)

    def generate_many(self, prompts: Sequence[Sequence[int]], count: int) -> list[Generation]:
        """ONNX Runtime GenAI's greedy loop over a batch; prompts of another length are a batch of their own.

        JobError where a model makes the id that stands in for end-of-text.
        """
        for ids in prompts:
            check_ids(ids, self._settings["vocab_size"])
        self._generator(endless=True)
        started = time.perf_counter()
        made: dict[int, Generation] = {}
        for length in sorted({len(ids) for ids in prompts}):
            rows = [row for row, ids in enumerate(prompts) if len(ids) == length]
            done, times = self._run_batch([list(prompts[row]) for row in rows], count)
            made |= {row: Generation(started, ids, times) for row, ids in zip(rows, done, strict=True)}
        return [made[row] for row in range(len(prompts))]

    def _run_batch(self, prompts: list[list[int]], count: int) -> tuple[list[list[int]], list[float]]:
        """The new ids of prompts of one length, and the moment of each step."""
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
            raise JobError(f"the model made id {self._stand_in}, after which a batch's sequence ends")
        return [list(row) for row in zip(*steps, strict=True)], times

    @property
    def _stand_in(self) -> int:
        """In a batch a sequence that reached its end is only padded from there on, and nothing can be turned back:
        so the end is an id that is as good as never made."""
        return int(self._settings["vocab_size"]) - 1

    def _generator(self, endless: bool = False) -> Any:
        if self._model is None or self._endless is not endless:
            quiet("onnxruntime_genai")
            import onnxruntime_genai as genai

            config = genai.Config(str(self._folder))
            options: dict[str, Any] = {"intra_op_num_threads": self._threads, "log_severity_level": 3}
            if not self._asked.get("arena", True):
                options["enable_cpu_mem_arena"] = False
            if not self._asked.get("spinning", True):
                options["session.intra_op.allow_spinning"] = "0"
            if prefix := self._asked.get("profile"):
                # Where the operators' times are written when the model is closed.
                options["enable_profiling"] = prefix
            overlay: dict[str, Any] = {"decoder": {"session_options": options}}
            overlay |= {"eos_token_id": [self._stand_in]} if endless else {}
            config.overlay(json.dumps({"model": overlay}))
            self._model, self._endless = genai.Model(config), endless
        return self._model

    def close(self) -> None:
        """Drop what was loaded."""
        self._runtime = self._model = self._tokenizer = None


def _present(past: str) -> str:
    return past.replace("past_key_values.", "present.", 1)
