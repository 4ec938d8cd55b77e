"""Run an artifact with the runner, under an emulator where the runner is for another processor (worker side).

The module is a backend as far as `worker.score` needs one: it has `open_session`.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from edgehone.backends.llamacpp.tools import ARTIFACT
from edgehone.core.errors import EdgehoneError

if TYPE_CHECKING:
    from edgehone.backends.sessions import Logits, WorkerJob

_SCORE, _GENERATE = 0, 1
# Threads of an emulated program take turns: with one for each processor, llama.cpp's spin and wait for each other.
_THREADS = 1


class RunnerSession:
    """The runner as a child process that answers binary requests (`pipe_requests` in runner.cpp)."""

    def __init__(self, command: Sequence[str]) -> None:
        self._messages: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._child = subprocess.Popen(
            list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._messages
        )

    def score(self, ids: Sequence[int]) -> Iterator[Logits]:
        """Yield the logits after each id, from an empty context: float32 chunks [n, vocabulary]."""
        import numpy as np

        self._ask(_SCORE, 0, ids)
        done = 0
        while done < len(ids):
            rows, columns = np.frombuffer(self._read(8), np.int32)
            block = np.frombuffer(self._read(4 * int(rows) * int(columns)), np.float32)
            yield block.reshape(rows, columns)
            done += int(rows)

    def generate(self, ids: Sequence[int], count: int) -> list[int]:
        """Return `count` greedy tokens, ignoring end-of-text."""
        import numpy as np

        self._ask(_GENERATE, count, ids)
        return [int(one) for one in np.frombuffer(self._read(4 * count), np.int32)]

    def close(self) -> None:
        """End the child. A second call does nothing."""
        if self._child.poll() is None:
            self._child.kill()
        self._child.communicate()
        self._messages.close()

    def _ask(self, kind: int, number: int, ids: Sequence[int]) -> None:
        import numpy as np

        assert self._child.stdin is not None
        try:
            self._child.stdin.write(np.array([kind, number, len(ids), *ids], np.int32).tobytes())
            self._child.stdin.flush()
        except BrokenPipeError:
            raise self._failure() from None

    def _read(self, size: int) -> bytes:
        assert self._child.stdout is not None
        data = self._child.stdout.read(size)
        if len(data) < size:
            raise self._failure()
        return data

    def _failure(self) -> EdgehoneError:
        code = self._child.wait()
        self._messages.seek(0)
        told = self._messages.read().decode("utf-8", "replace").strip().splitlines()
        return EdgehoneError(told[-1] if told else f"the runner ended with code {code}")


def open_session(artifact: Path, settings: Mapping[str, Any], job: WorkerJob) -> RunnerSession:
    """Start `job.inputs["runner"]` with artifact/model.gguf.

    settings: emulator (a list of words before the program; none to run it on this processor), context (tokens). What
    else llama.cpp can be set to has its defaults. Raises EdgehoneError with the runner's message, for example of a
    processor that lacks instructions, at the first request.
    """
    program = job.inputs["runner"]
    command = [*settings.get("emulator", ()), str(program), str(artifact / ARTIFACT), "--pipe"]
    command += ["--threads", str(_THREADS)]
    if context := settings.get("context"):
        command += ["--context", str(context)]
    return RunnerSession(command)


def answers(job: WorkerJob) -> dict[str, Any]:
    """Return the greedy answers to `job.args["prompts"]` ([{"prompt": ids, "count": n}]) as {"answers": [[ids]]}.

    args: settings (see `open_session`), prompts. inputs: artifact, runner.
    """
    session = open_session(job.inputs["artifact"], job.args["settings"], job)
    try:
        return {"answers": [session.generate(one["prompt"], one["count"]) for one in job.args["prompts"]]}
    finally:
        session.close()
