"""How long libllama's operators take, one by one (worker side).

libllama calls back before and after each node of its graph when asked to, and computes node by node then: what lies
between the two calls is the node's time. The threads meet after every node, so that the sum is longer than an
unwatched request; the shares are what to read.
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

# Nodes that only name a part of another's bytes: nothing is computed.
_VIEWS = ("NONE", "VIEW", "RESHAPE", "PERMUTE", "TRANSPOSE")


def operator_times(
    artifact: Path, settings: Mapping[str, Any], job: WorkerJob, **request: Any
) -> list[OperatorTime]:
    """One request, node by node. InputError for an encoder, whose context is another."""
    from edgehone.backends.llamacpp.build import ARTIFACT, tools

    if "prompt" not in request:
        raise InputError("operators of an encoder are not timed by the llamacpp backend")
    session = OperatorSession(tools(job).binding(), artifact / ARTIFACT, settings, job.threads)
    made = session.times(request["prompt"], request["generated"])
    session.close()
    return made


class OperatorSession(LlamaSession):
    """A session whose contexts time their operators."""

    def __init__(self, library: Any, path: Path, settings: Mapping[str, Any], threads: int) -> None:
        super().__init__(library, path, settings, threads)
        self._describe = library._lib.ggml_op_desc
        self._describe.restype, self._describe.argtypes = ctypes.c_char_p, [ctypes.c_void_p]
        self._found: dict[tuple[str, str], list[float]] = {}
        self._phase, self._since = "prefill", 0.0
        # libllama keeps the pointer as long as a context is open.
        self._callback = library.ggml_backend_sched_eval_callback(self._take)

    def times(self, prompt: Sequence[int], generated: int) -> list[OperatorTime]:
        """Of one request, after another that warms up."""
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
