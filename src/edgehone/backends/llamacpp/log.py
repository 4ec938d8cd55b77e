"""libllama's log: warnings and errors go to the job's log, errors are kept, chatter is dropped."""

from __future__ import annotations

import sys
from typing import Any

_WARN, _ERROR, _CONTINUED = 3, 4, 5  # enum ggml_log_level


class Log:
    """Takes over the log of the whole library; `cause` says why something failed."""

    def __init__(self, library: Any) -> None:
        self._errors: list[str] = []
        self._level = 0
        # The library keeps the pointer for the whole process, so the callback must live as long.
        _CALLBACKS.append(library.llama_log_callback(self._take))
        library.llama_log_set(_CALLBACKS[-1], None)

    def _take(self, level: int, text: bytes, _: Any) -> None:
        self._level = level if level != _CONTINUED else self._level
        if self._level < _WARN:
            return
        line = text.decode("utf-8", "replace")
        sys.stderr.write(line)
        if self._level == _ERROR and line.strip():
            self._errors.append(line.strip())

    @property
    def cause(self) -> str:
        """The first error since this was last asked: what follows it is the unwinding."""
        first = self._errors[0] if self._errors else "it gave no reason"
        self._errors.clear()
        return first


_CALLBACKS: list[Any] = []
