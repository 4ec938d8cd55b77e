"""ONNX Runtime GenAI's engine, which batches the requests to a language model (worker side)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from edgehone.backends.olive.session import open_model
from edgehone.backends.serving import EngineRequest, Option, Produced
from edgehone.backends.shared.ids import check_ids
from edgehone.backends.shared.json_grammar import LARK, grammar
from edgehone.core.errors import InputError

# Without a paged KV cache in the graph, the engine takes no seed of a request.
_OPTIONS: frozenset[Option] = frozenset({"temperature", "top_p", "top_k", "repetition_penalty"})
_SCHEMA: Option = "plain_json_schema"


class OliveEngine:
    """An engine of static batches: a request joins the running ones if there is a place."""

    processes: tuple[int, ...] = ()

    def __init__(
        self, folder: Path, settings: Mapping[str, Any], threads: int, places: int, context: int
    ) -> None:
        """Load the model for up to `places` requests at the same time, of up to `context` tokens each.

        The artifact's own limit, search.max_length in genai_config.json, lowers `context`.
        Every cache of a batch is as long as the longest of them, so memory is bounded by both.
        """
        import onnxruntime_genai as genai

        config = json.loads((folder / "genai_config.json").read_text("utf-8"))
        # The framework refuses a request of more tokens than its own configuration states.
        context = min(context, int(config.get("search", {}).get("max_length", context)))
        self.options: frozenset[Option] = _OPTIONS
        self.context: int | None = context
        self.cache: int | None = context * places
        self.vocabulary = int(config["model"]["vocab_size"])
        # Requests have ends of their own, which `step` finds. A special token stands in for the model's.
        self._special = _other_special(folder, config["model"])
        self._end = self.vocabulary - 1 if self._special is None else self._special
        overlay = {
            "engine": {"static_batching": {"max_batch_size": places}},
            "model": {"eos_token_id": [self._end]},
        }
        self._model = open_model(folder, settings, threads, overlay)
        self._event_count = max(64, 4 * places)
        self._running: dict[int, tuple[Any, EngineRequest]] = {}
        self._numbers: dict[
            int, int
        ] = {}  # of the requests that run, by the identity of the framework's object
        kinds = genai.EngineEventFlags
        # An enumeration is converted anew each time.
        self._failed, self._token, self._finished = map(int, (kinds.FAILED, kinds.TOKEN, kinds.TURN_FINISHED))
        self._ended = int(genai.FinishReason.EOS)
        self._begin()

    def _begin(self) -> None:
        import onnxruntime_genai as genai

        self._engine = genai.Engine(self._model)
        self._events = self._engine.create_event_buffer(self._event_count)

    def add(self, request: EngineRequest) -> None:
        """Accept a request. Raises InputError for ids outside the vocabulary, or more than the model takes."""
        import numpy as np
        import onnxruntime_genai as genai

        check_ids(request.ids, self.vocabulary)
        options = genai.RequestOptions()
        options.set_max_session_tokens(len(request.ids) + request.count)
        try:
            made = self._engine.create_request(options=options)
        except RuntimeError as error:  # more tokens than the model takes; the message says how many it takes
            raise InputError(str(error)) from error
        try:
            made.begin_turn(np.array(list(request.ids), np.int32), _turn(made, request))
        except Exception as error:
            made.close()
            raise InputError(str(error)) from error
        self._running[request.number] = made, request
        self._numbers[id(made)] = request.number

    def constrain(self, entries: Sequence[bytes | None]) -> str | None:
        """Take requests with a plain schema. llguidance reads the vocabulary from the artifact's tokenizer.json.

        Once a text is complete, it allows no token but the configured end. If that token were also a part of ordinary
        texts, a model could generate it within one, which would end a text that is not complete.
        """
        if self._special is None:
            return "its tokenizer.json has no special token besides those that end a text"
        self.options |= {_SCHEMA}
        return None

    def free(self) -> None:
        """Take no requests with a schema any more."""
        self.options -= {_SCHEMA}
        self._begin_again()

    def cancel(self, number: int) -> None:
        """Stop a request."""
        if found := self._running.pop(number, None):
            del self._numbers[id(found[0])]
            # A turn that has just ended cannot be cancelled any more.
            with suppress(RuntimeError):
                found[0].cancel_turn(1)
            found[0].close()

    @property
    def busy(self) -> bool:
        """Whether a request is not finished."""
        return bool(self._running)

    def step(self) -> list[Produced]:
        """Run one step of the engine."""
        produced: list[Produced] = []
        for event in self._engine.run(self._events):
            number = self._numbers.get(id(event.request))
            if number is not None:
                produced.append(self._read(number, event))
        for one in produced:
            if one.reason:
                self.cancel(one.number)
        if any(one.reason == "error" for one in produced):
            produced += self._begin_again()
        return produced

    def _begin_again(self) -> list[Produced]:
        """Make another engine of the same model: after a failure the framework's engine takes no request any more."""
        left = list(self._running)
        for number in left:
            self.cancel(number)
        self._begin()
        return [Produced(number, [], "error", "a request of the same batch failed") for number in left]

    def close(self) -> None:
        """Stop all requests and release the model."""
        for number in list(self._running):
            self.cancel(number)
        self._engine = self._model = None

    def _read(self, number: int, event: Any) -> Produced:
        flags = int(event.flags)
        if flags & self._failed:
            return Produced(number, [], "error", f"ONNX Runtime GenAI: {event.error_code}")
        ids = [int(event.token)] if flags & self._token else []
        if ids and ids[0] in self._running[number][1].ends:
            return Produced(number, [], "stop")
        if not flags & self._finished:
            return Produced(number, ids)
        request = self._running[number][1]
        ended = int(event.finish_reason) == self._ended  # without a token
        complete = ended and (_SCHEMA in request.options or self._end in request.ends)
        return Produced(number, ids, "stop" if complete else "length")


def _turn(made: Any, request: EngineRequest) -> Any:
    """Return the options of a request's only turn."""
    import onnxruntime_genai as genai

    turn, given = genai.TurnOptions(made), request.options
    turn.set_max_generated_tokens(request.count)
    turn.set_do_sample(bool(given.get("temperature")))
    if given.get("temperature"):
        turn.set_temperature(given["temperature"])
        turn.set_top_k(given.get("top_k") or 0)
        turn.set_top_p(given.get("top_p") or 1.0)
    if given.get("repetition_penalty"):
        turn.set_repetition_penalty(given["repetition_penalty"])
    if _SCHEMA in given:
        turn.set_guidance("lark_grammar", grammar(given[_SCHEMA], LARK))
    return turn


def _other_special(folder: Path, model: Mapping[str, Any]) -> int | None:
    """Return the last special token of tokenizer.json that ends no text; None without one.

    The last ones are placeholders in many vocabularies, which no model generates.
    """
    try:
        tokens = json.loads((folder / "tokenizer.json").read_text("utf-8"))["added_tokens"]
        found = {int(one["id"]) for one in tokens if one.get("special")}
    except (OSError, ValueError, KeyError, TypeError):
        return None  # the artifact has no tokenizer, or one of another form
    given = model.get("eos_token_id")
    ends = given if isinstance(given, list) else [given]
    return max((one for one in found if one not in ends and one < model["vocab_size"]), default=None)
