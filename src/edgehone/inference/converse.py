"""Hold a conversation with a bundle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from edgehone.bundle.read import Bundle
from edgehone.core.errors import InputError
from edgehone.execution.foreground import Dialogue, open_dialogue
from edgehone.inference.run_bundle import (
    check_language,
    check_text,
    context_of,
    has_template,
    job_of,
    tokenizer_input,
)
from edgehone.inference.sampling import SamplingOptions, settings


class Conversation:
    """A conversation with a language model, with its history."""

    def __init__(
        self, dialogue: Dialogue, max_tokens: int, sampling: dict[str, Any] | None, system: str | None
    ) -> None:
        self._dialogue, self._max_tokens, self.sampling = dialogue, max_tokens, sampling
        self._system = [{"role": "system", "content": system}] if system else []
        self.messages: list[dict[str, str]] = []

    def say(self, text: str, write: Callable[[str], None] = lambda piece: None) -> dict[str, Any]:
        """Send a message, call `write` with each piece of the answer, and return its facts.

        Raises InputError if the message cannot be answered (beyond the context, refused by the template). It is then
        not part of the history.
        """
        check_text(text, "the message")
        asked = [*self.messages, {"role": "user", "content": text}]
        request = {
            "messages": [*self._system, *asked],
            "max_tokens": self._max_tokens,
            "sampling": self.sampling,
        }
        facts: dict[str, Any] = {}
        for reply in self._dialogue.ask(request):
            if "text" in reply:
                write(reply["text"])
            facts = reply
        if "error" in facts:
            raise InputError(facts["error"], hint=facts["hint"])
        self.messages = [*asked, {"role": "assistant", "content": facts["answer"]}]
        return {name: value for name, value in facts.items() if name != "last"}

    def clear(self) -> None:
        """Forget the history, but not the system's message."""
        self.messages = []


@contextmanager
def converse(
    bundle: Bundle,
    max_tokens: int,
    *,
    sampling: SamplingOptions,
    system: str | None = None,
    on_progress: Callable[[str], None] = lambda detail: None,
) -> Iterator[Conversation]:
    """Open a bundle's model in a process of its own for a conversation.

    Raises InputError for a bundle that generates no text or whose model has no chat template.
    """
    check_language(bundle, max_tokens)
    check_text(system or "", "--system")
    if not has_template(bundle):
        raise InputError(
            f"the model of {bundle.path} has no chat template, so there is no form for a conversation",
            hint=f'edgehone run {bundle.path} --prompt "Once upon a time"',
        )
    drawn = settings(sampling, bundle.tokenizer)
    args = {"eos": bundle.manifest.eos, "context": context_of(bundle)}
    job = job_of(bundle, "edgehone.worker.chat:chat", args, tokenizer_input(bundle), on_progress)
    with open_dialogue(job) as dialogue:
        yield Conversation(dialogue, max_tokens, drawn, system)
