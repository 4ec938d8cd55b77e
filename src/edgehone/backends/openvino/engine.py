"""OpenVINO GenAI's continuous batching over a language model in IR (worker side).

It computes attention over pages of a shared KV cache (paged attention), by another kernel than the session that was
scored. The server therefore proves it with the bundle's canaries when it starts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgehone.backends.openvino import prompt_lookup
from edgehone.backends.openvino.placement import CPU, device_properties
from edgehone.backends.openvino.session import properties, vocabulary
from edgehone.backends.serving import EngineRequest, Option, Produced, TokenLogprobs
from edgehone.backends.shared.ids import check_ids
from edgehone.backends.shared.json_grammar import EBNF, grammar, special_problem
from edgehone.core.errors import InputError

# The names of the options in OpenVINO GenAI.
_NAMES = {
    "temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "min_p": "min_p", "seed": "rng_seed",
    "repetition_penalty": "repetition_penalty", "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
}  # fmt: skip
_DRAWN = ("top_p", "top_k", "min_p", "seed")
_SCHEMA: Option = "plain_json_schema"
# XGrammar keeps each grammar that it has compiled, with a vocabulary of 151,000 entries 5 MB, until the pipeline is
# closed. So after so many the pipeline is opened anew when it has no request; twice as many are the most.
_GRAMMARS = 64


_OPTIONS: frozenset[Option] = frozenset({
    "temperature", "top_p", "top_k", "min_p", "seed", "repetition_penalty", "frequency_penalty", "presence_penalty",
    "logprobs",
})  # fmt: skip

# Tokens of a block of the KV cache, on the CPU and on other devices.
_BLOCK, _OTHER_BLOCK = 32, 16


class OpenVinoEngine:
    """A continuous-batching pipeline."""

    context: int | None = None
    processes: tuple[int, ...] = ()

    def __init__(
        self, folder: Path, settings: Mapping[str, Any], threads: int, places: int, cache: int
    ) -> None:
        """Load the model for up to `places` requests at the same time, of up to `cache` tokens in all.

        Without a limit the pipeline's cache grows with its requests and never shrinks. Beyond one it would compute
        requests again and again, and end a single one that does not fit without an answer: callers stay within it.
        """
        import openvino_genai as genai

        self.options: frozenset[Option] = _OPTIONS
        scheduler = genai.SchedulerConfig()
        scheduler.max_num_seqs = places
        scheduler.enable_prefix_caching = bool(settings.get("prefix_cache", True))
        self.cache: int | None = cache
        # The last block of each request may be almost empty; a canary may run beside the requests.
        device = str(settings.get("device", CPU))
        block = _BLOCK if device == CPU else _OTHER_BLOCK
        scheduler.num_kv_blocks = -(-cache // block) + 2 * places + 4
        self.vocabulary = vocabulary(folder)
        given = device_properties(settings, properties(settings, threads))
        self._drafted = int(settings.get("prompt_lookup", 0))
        if self._drafted:
            given["prompt_lookup"] = True
        self._open: Callable[[], Any] = lambda: genai.ContinuousBatchingPipeline(
            str(folder), scheduler, device, given
        )
        self._pipeline = self._open()
        self._end = -1  # the only id that XGrammar knows to end a text
        self._grammars: set[str] = set()
        self._handles: dict[int, Any] = {}
        self._ends: dict[int, frozenset[int]] = {}

    def add(self, request: EngineRequest) -> None:
        """Accept a request. Raises InputError for ids outside the vocabulary, and for one schema too many."""
        import numpy as np
        import openvino as ov

        check_ids(request.ids, self.vocabulary)
        if len(self._grammars) >= _GRAMMARS and not self.busy:
            self._open_again()
        if _SCHEMA in request.options:
            self._count(grammar(request.options[_SCHEMA], EBNF))
        ids = ov.Tensor(np.array([list(request.ids)], np.int64))
        ends = frozenset({self._end}) if _SCHEMA in request.options else request.ends
        config = _config(request, ends)
        if self._drafted:  # by every request: a pipeline that drafts takes no others
            prompt_lookup.draft_from_prompt(config, self._drafted)
        self._handles[request.number] = self._pipeline.add_request(request.number, ids, config)
        self._ends[request.number] = ends

    def constrain(self, entries: Sequence[bytes | None]) -> str | None:
        """Take requests with a plain schema if XGrammar reads the vocabulary as the text is decoded.

        It reads the entries of SentencePiece as they are written: `▁` is no space, and `<0x0A>` is six characters.
        """
        if self._drafted:
            return "its recipe drafts tokens from the prompt"
        tokenizer = self._pipeline.get_tokenizer()
        self._end = int(tokenizer.get_eos_token_id())
        if not 0 <= self._end < len(entries) or entries[self._end] is not None:
            return f"its tokenizer's end of a text is {self._end}, which is no special token"
        read = {token: text for text, token in tokenizer.get_vocab().items()}
        for token, entry in enumerate(entries):
            if entry is not None and read.get(token, b"") != entry:
                return (
                    f"OpenVINO GenAI reads token {token} as {read.get(token)!r}, and it stands for {entry!r}"
                )
        left_out = [token for token, entry in enumerate(entries) if entry is None]
        if problem := special_problem(read.get(token, b"") for token in left_out):
            return problem
        self.options |= {_SCHEMA}
        return None

    def free(self) -> None:
        """Take no requests with a schema any more. A pipeline whose step has failed takes no request at all."""
        self.options -= {_SCHEMA}
        self._handles.clear()
        self._ends.clear()
        self._open_again()

    def _open_again(self) -> None:
        self._pipeline = None  # before the other one takes memory
        self._pipeline = self._open()
        self._grammars.clear()

    def _count(self, rules: str) -> None:
        if rules not in self._grammars and len(self._grammars) >= 2 * _GRAMMARS:
            raise InputError(
                f"the engine has compiled {2 * _GRAMMARS} different schemas since it last had no request",
                hint="ask again later, or with a schema that was used before",
            )
        self._grammars.add(rules)

    def cancel(self, number: int) -> None:
        """Stop a request."""
        if handle := self._handles.pop(number, None):
            handle.stop()
            del self._ends[number]

    @property
    def busy(self) -> bool:
        """Whether a request is not finished."""
        return bool(self._handles) or bool(self._pipeline.has_non_finished_requests())

    def step(self) -> list[Produced]:
        """Run one step of the scheduler."""
        if self._pipeline.has_non_finished_requests():
            self._pipeline.step()
        produced = [one for number in list(self._handles) if (one := self._read(number)) is not None]
        for one in produced:
            if one.reason:
                del self._handles[one.number], self._ends[one.number]
        return produced

    def close(self) -> None:
        """Stop all requests and release the model."""
        for number in list(self._handles):
            self.cancel(number)
        self._pipeline = None

    def _read(self, number: int) -> Produced | None:
        """Return what a request has produced since the last step."""
        import openvino_genai as genai

        handle, ids, logprobs = self._handles[number], list[int](), list[TokenLogprobs]()
        while handle.can_read():
            for output in handle.read().values():
                ids += output.generated_ids
                logprobs += map(TokenLogprobs, output.generated_ids, output.generated_log_probs)
        status = handle.get_status()
        if ended := bool(ids) and ids[-1] in self._ends[number]:
            ids.pop()
        logprobs = logprobs[: len(ids)]
        if status == genai.GenerationStatus.RUNNING:
            return Produced(number, ids, logprobs=logprobs) if ids else None
        if status == genai.GenerationStatus.IGNORED:
            return Produced(number, [], "error", "the request does not fit into the KV cache")
        return Produced(number, ids, "stop" if ended else "length", logprobs=logprobs)


def _config(request: EngineRequest, ends: frozenset[int]) -> Any:
    import openvino_genai as genai

    given = {name: value for name, value in request.options.items() if name in _NAMES and value is not None}
    drawn = bool(given.get("temperature"))
    if not drawn:
        given = {name: value for name, value in given.items() if name not in ("temperature", *_DRAWN)}
    if not given.get("top_k", 1):
        del given["top_k"]  # 0 means all
    held: dict[str, Any] = {}
    if _SCHEMA in request.options:
        rules = grammar(request.options[_SCHEMA], EBNF)
        held["structured_output_config"] = genai.StructuredOutputConfig(grammar=rules)
    return genai.GenerationConfig(
        max_new_tokens=request.count,
        ignore_eos=not ends,
        stop_token_ids=set(ends),
        do_sample=drawn,
        logprobs=int(bool(request.options.get("logprobs"))),  # only those of the tokens themselves are given
        **{_NAMES[name]: value for name, value in given.items()},
        **held,
    )
