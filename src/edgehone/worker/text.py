"""The text side of a running bundle: prompts to ids and ids to text, with the original's tokenizer (worker side)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.capabilities import RuntimeTokenizerBackend, capability
from edgehone.core.errors import InputError
from edgehone.worker.backend import load_backend
from edgehone.worker.chat_template import (
    Message,
    control_tokens,
    places_pictures,
    read_template,
    render,
    shaped,
    special_tokens,
    takes,
    texts_of,
    wants_parts,
)
from edgehone.worker.original_tokenizer import OriginalTokenizer
from edgehone.worker.stable_text import StableText

if TYPE_CHECKING:
    from edgehone.backends.sessions import WorkerJob


class Text:
    """Tokenizes and decodes for a session.

    `inputs["tokenizer"]` of the job is the folder `tokenizer` of a bundle. With a tokenizer.json in it, that tokenizer
    is used, so that the runtime gets the original's ids; without one, the runtime's own tokenizer.
    """

    def __init__(self, job: WorkerJob, session: Any) -> None:
        self._session = session
        folder: Path | None = job.inputs.get("tokenizer")
        portable = folder is not None and (folder / "tokenizer.json").is_file()
        self._original = OriginalTokenizer(folder) if folder and portable else None
        self._template = read_template(folder) if folder else None
        self._special: Mapping[str, str] = special_tokens(folder) if folder else {}
        self._control = control_tokens(folder, self._template) if folder and self._template else None

    @property
    def source(self) -> str:
        """Whose tokenizer is used: "original" or "runtime"."""
        return "original" if self._original else "runtime"

    @property
    def has_template(self) -> bool:
        """Whether the model has a chat template."""
        return self._template is not None

    def check_length(self, texts: Iterable[str], context: int | None) -> None:
        """Raise InputError for texts that cannot fit in so many tokens, before they are tokenized.

        Tokenizing a million characters takes seconds, in which others wait. No token of the vocabulary has more
        characters than the longest; only texts of which the tokenizer drops most, such as a million spaces, are refused
        though they would fit. The runtime's own tokenizer does not tell how long a token is: then nothing is refused.
        """
        characters = sum(map(len, texts))
        if context is None or self._original is None or characters <= context * self._original.longest:
            return
        raise InputError(
            f"the prompt has {characters} characters; at most {context} tokens fit, "
            f"and a token has at most {self._original.longest} characters"
        )

    def prompt(self, text: str) -> list[int]:
        """Return the ids of a plain text, with those that the tokenizer puts before it. Raises InputError for none."""
        ids = self._original.tokenize(text) if self._original else self._session.tokenize(text)
        if not ids:
            raise InputError(f"the prompt {text[:60]!r} has no token", hint="give a longer --prompt")
        return [int(i) for i in ids]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids, without special tokens."""
        return self._original.detokenize(ids) if self._original else str(self._session.detokenize(ids))

    def takes(self) -> dict[str, bool]:
        """Return what the model's chat template writes; see `takes` in `chat_template`."""
        assert self._template is not None
        return takes(self._template, self._special)

    def conversation(self, messages: Sequence[Message], tools: Sequence[Any] = ()) -> list[int]:
        """Return the ids of a conversation in the model's chat template. Raises ModelError if it cannot be rendered."""
        assert self._template is not None
        rendered = self.rendered(messages, tools)
        return self._ids(rendered, as_processor=wants_parts(self._template, self._special))

    def has_control(self, messages: Sequence[Message]) -> bool:
        """Return whether a text of a conversation has a token by which the chat template divides it.

        The tokenizer reads it as that token, so who writes the text could end his turn and begin another.
        """
        return self._control is not None and any(self._control.search(one) for one in texts_of(messages))

    def rendered(self, messages: Sequence[Message], tools: Sequence[Any] = ()) -> str:
        """Return the text of a conversation in the model's chat template. Raises ModelError if that fails."""
        assert self._template is not None
        found = shaped(self._template, messages, self._special)
        return render(self._template, found, self._special, tools)

    def places_pictures(self, token: str) -> bool:
        """Return whether the chat template writes `token`, a token of the original's tokenizer, for a picture."""
        if self._template is None or self._original is None or self._original.id_of(token) is None:
            return False
        return places_pictures(self._template, self._special, token)

    def around(self, rendered: str, token: str) -> tuple[list[int], list[int]]:
        """Return the ids before and after `token`, which the text contains once."""
        assert self._original is not None
        ids, place = self._ids(rendered, as_processor=True), self._original.id_of(token)
        at = next(at for at, one in enumerate(ids) if one == place)
        return ids[:at], ids[at + 1 :]

    def _ids(self, rendered: str, *, as_processor: bool) -> list[int]:
        """Return the ids of a rendered conversation.

        Processors of vision-language models add special tokens unless the template writes the BOS; tokenizers of
        language models add none.
        """
        bos = self._special.get("bos_token")
        if self._original:
            special = as_processor and not (bos and rendered.startswith(bos))
            return self._original.tokenize(rendered, special=special)
        ids = [int(i) for i in self._session.tokenize(rendered)]
        # The template writes the BOS, and the runtime's tokenizer adds another one.
        doubled = bos and rendered.startswith(bos) and ids[:1] == ids[1:2]
        return ids[1:] if doubled else ids

    def token_bytes(self, token: int) -> bytes:
        """Return the bytes of a token; those of its text where the tokenizer does not tell them."""
        if self._original:
            return self._original.token_bytes(token)
        if own := getattr(self._session, "token_bytes", None):
            return bytes(own(token))
        return str(self._session.detokenize([token])).encode()

    def entries(self) -> list[bytes | None] | None:
        """Return the bytes of each id, None for those that a text lacks; None instead where that is not known."""
        return self._original.entries() if self._original else None

    def stream(self) -> StableText:
        """Return a new text that is decoded piece by piece."""
        if self._original:
            return StableText(self._original.detokenize, self._original.is_byte)
        return StableText(self._session.detokenize)


class RuntimeTokenizer:
    """The session whose tokenizer is used if a bundle has no tokenizer.json; it is opened for these only."""

    def __init__(self, job: WorkerJob) -> None:
        self._job = job
        self._session: Any = None

    def open(self) -> None:
        """Open the tokenizer of the artifact, or where the backend cannot do that the whole artifact."""
        backend, job = load_backend(self._job), self._job
        artifact = job.inputs["artifact"]
        if vocabulary := capability(backend, RuntimeTokenizerBackend):
            self._session = vocabulary.open_runtime_tokenizer(artifact, job)
        else:
            self._session = backend.open_session(artifact, job.args["settings"], job)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)
