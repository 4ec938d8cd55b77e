"""Steps of a re-optimization in child processes: of low priority, limited in time, with a store of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edgehone.core.errors import JobError, SetupError
from edgehone.execution.home import VARIABLE, home

# What of EDGEHONE_HOME is used in place. Results of jobs are not: they hold the ids of kept prompts.
_SHARED = ("envs", "toolchains", "locks", "bandwidth", "compute", "digests")
_END_SECONDS = 15.0
_LOG_END = 3000


@dataclass(frozen=True)
class Children:
    """How steps are run. `folder` gets the logs and the store, which hold texts of users: it is removed at the end."""

    folder: Path
    seconds: float
    processors: int | None

    def run(self, step: str, words: Sequence[str]) -> int:
        """Run a command of edgehone, with its output in STEP.log, and return its exit code.

        Raises JobError if it takes too long or crashes; then nothing that it started runs on.
        """
        command = [
            sys.executable,
            "-P",
            "-m",
            "edgehone.operate.reoptimize.low",
            str(self.processors or 0),
            *words,
        ]
        log = self.folder / f"{step}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                env={**os.environ, VARIABLE: str(self._home())},
                start_new_session=True,
            )
            try:
                code = process.wait(self.seconds)
            except subprocess.TimeoutExpired:
                raise JobError(
                    f"{step} took longer than {self.seconds:,.0f} s",
                    hint="give it more time: --time; what is done is kept",
                    log=log,
                ) from None
            finally:
                _end(process)
        if code < 0 or code == 1:
            raise JobError(f"{step} failed ({_cause(code)}): {_last_line(log)}", log=log)
        return code

    def _home(self) -> Path:
        """Return a folder like EDGEHONE_HOME, with a store of its own."""
        own, real = self.folder / "home", home().resolve()
        try:
            own.mkdir(mode=0o700, exist_ok=True)
            for name in _SHARED:
                (real / name).mkdir(exist_ok=True)
                if not (own / name).is_symlink():
                    (own / name).symlink_to(real / name)
        except OSError as error:
            raise SetupError(f"the folder {own} cannot be written: {error.strerror}") from error
        return own


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a step, if it still runs, with all that it started."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)  # as Ctrl-C: it ends its jobs
        with suppress(subprocess.TimeoutExpired):
            process.wait(_END_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _cause(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _last_line(log: Path) -> str:
    lines = log.read_text("utf-8", "replace")[-_LOG_END:].strip().splitlines()
    return next(
        (line for line in reversed(lines) if line.startswith("error")), lines[-1] if lines else "no output"
    )
