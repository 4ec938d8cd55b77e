"""libllama's log: warnings and errors go to the job's log, errors are recorded, the rest is dropped."""

from __future__ import annotations

import sys
from typing import Any

_WARN, _ERROR, _CONTINUED = 3, 4, 5  # enum ggml_log_level


class Log:
    """Replaces the log callback of the whole library. `cause` returns why a call failed."""

    def __init__(self, library: Any) -> None:
        self._errors: list[str] = []
        self._level = 0
        # The library keeps the pointer until the process ends, so the callback must not be collected.
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
        """Return and clear the first error since the last access; later ones are consequences of it."""
        first = self._errors[0] if self._errors else "no reason was logged"
        self._errors.clear()
        return first


_CALLBACKS: list[Any] = []
