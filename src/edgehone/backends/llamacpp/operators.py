"""Time libllama's operators one by one (worker side).

With a callback set, libllama computes its graph node by node and calls back before and after each node. The time
between the two calls is the node's time. Threads synchronize after every node, so the sum exceeds the time of an
unprofiled request; only the shares are meaningful.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgehone.backends.llamacpp.session import LlamaSession
from edgehone.backends.sessions import (
    OperatorTime,
    WorkerJob,
)
from edgehone.core.errors import InputError

# Nodes that are views of another node's data and compute nothing.
_VIEWS = ("NONE", "VIEW", "RESHAPE", "PERMUTE", "TRANSPOSE")


def operator_times(
    artifact: Path, settings: Mapping[str, Any], job: WorkerJob, **request: Any
) -> list[OperatorTime]:
    """Profile one request. Raises InputError for an encoder, which has another kind of context."""
    from edgehone.backends.llamacpp.tools import ARTIFACT, toolchain_of

    if "prompt" not in request:
        raise InputError("the llamacpp backend does not profile operators of encoders")
    session = OperatorSession(toolchain_of(job).binding(), artifact / ARTIFACT, settings, job.threads)
    times = session.times(request["prompt"], request["generated"])
    session.close()
    return times


class OperatorSession(LlamaSession):
    """A session that times the operators of its contexts."""

    def __init__(self, library: Any, path: Path, settings: Mapping[str, Any], threads: int) -> None:
        super().__init__(library, path, settings, threads)
        self._describe = library._lib.ggml_op_desc
        self._describe.restype, self._describe.argtypes = ctypes.c_char_p, [ctypes.c_void_p]
        self._found: dict[tuple[str, str], list[float]] = {}
        self._phase, self._since = "prefill", 0.0
        # libllama keeps the pointer while a context is open, so the callback must not be collected.
        self._callback = library.ggml_backend_sched_eval_callback(self._take)

    def times(self, prompt: Sequence[int], generated: int) -> list[OperatorTime]:
        """Return the times of one request, after a warm-up."""
        self.generate(prompt, 2)
        self._found.clear()
        self.generate(prompt, generated)
        return [
            OperatorTime(phase, operator, len(seconds), sum(seconds))
            for (phase, operator), seconds in self._found.items()
        ]

    def _parameters(self, length: int, sequences: int) -> Any:
        params = super()._parameters(length, sequences)
        params.cb_eval = self._callback
        return params

    def _decode(self, batch: Any) -> None:
        self._phase = "prefill" if batch.n_tokens > 1 else "decode"
        super()._decode(batch)

    def _take(self, tensor: int, ask: bool, _: Any) -> bool:
        if ask:
            self._since = time.perf_counter()
            return True
        seconds = time.perf_counter() - self._since
        operator = bytes(self._describe(tensor)).decode()
        if operator not in _VIEWS:
            self._found.setdefault((self._phase, operator), []).append(seconds)
        return True
