"""libllama's log: warnings and errors go to the job's log; errors and sizes of buffers are recorded."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from typing import Any

_WARN, _ERROR, _CONTINUED = 3, 4, 5  # enum ggml_log_level
# "load_tensors:        CUDA0 model buffer size =  1918.35 MiB", "llama_kv_cache:  MTL0 KV buffer size =   128.00 MiB"
_BUFFER = re.compile(r"([A-Za-z_]\w*):\s+(\S+)\s+\w+\s+buffer size\s*=\s*([0-9.]+) MiB")
_WEIGHTS = "load_tensors"


@dataclass(frozen=True)
class Buffer:
    """A buffer that libllama has allocated: the function that did, the device, and its bytes."""

    function: str
    device: str
    size: int


def buffer_of(line: str) -> Buffer | None:
    """Return the buffer that a line of the log tells, or None."""
    matched = _BUFFER.match(line)
    return Buffer(matched[1], matched[2], round(float(matched[3]) * (1 << 20))) if matched else None


class Log:
    """Replaces the log callback of the whole library. `cause` returns why a call failed."""

    def __init__(self, library: Any) -> None:
        self._errors: list[str] = []
        self._buffers: list[Buffer] = []
        self._level = 0
        # The library keeps the pointer until the process ends, so the callback must not be collected.
        _CALLBACKS.append(library.llama_log_callback(self._take))
        library.llama_log_set(_CALLBACKS[-1], None)

    def _take(self, level: int, text: bytes, _: Any) -> None:
        self._level = level if level != _CONTINUED else self._level
        line = text.decode("utf-8", "replace")
        if self._level < _WARN:
            if found := buffer_of(line):
                self._buffers.append(found)
            return
        sys.stderr.write(line)
        if self._level == _ERROR and line.strip():
            self._errors.append(line.strip())

    def forget_context(self) -> None:
        """Forget the buffers of a context that is freed; those of the weights remain."""
        self._buffers = [one for one in self._buffers if one.function == _WEIGHTS]

    def bytes_on(self, device: str) -> int:
        """Return the bytes of all buffers on a device: on MTL0 those called MTL0 and MTL0_Mapped."""
        return sum(one.size for one in self._buffers if one.device.partition("_")[0] == device)

    @property
    def cause(self) -> str:
        """Return and clear the first error since the last access; later ones are consequences of it."""
        first = self._errors[0] if self._errors else "no reason was logged"
        self._errors.clear()
        return first


_CALLBACKS: list[Any] = []
