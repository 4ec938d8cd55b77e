"""Every error that edgehone raises on purpose.

    EdgehoneError               exit 1   something failed; never a bug of the caller
    ├── InputError              exit 2   what the user gave can't be used: a file, a value, a name
    │   ├── ModelError                   the model folder: missing, truncated, unknown, unsupported
    │   └── TextError                    evaluation, calibration or task file
    ├── SetupError              exit 2   the machine: no compiler, no index, no space, a broken environment
    ├── JobError                exit 1   a child process failed; carries the root cause and the log's path
    ├── NothingToGain           exit 1   a recipe has nothing to work on; the others go on
    └── NothingPasses           exit 3   no candidate passes the gates; carries the decision (edgehone.decision.errors)

An error says what happened, shows the offending value, and names the next command to type (`hint`).
"""

from __future__ import annotations

from pathlib import Path


class EdgehoneError(Exception):
    """Base of all; `message` says what happened and shows the value, `hint` what to do next."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InputError(EdgehoneError):
    """What the user gave cannot be used."""

    exit_code = 2


class ModelError(InputError):
    """The model cannot be read or is not one that can be honed."""


class TextError(InputError):
    """An evaluation, calibration or task file cannot be used."""


class SetupError(EdgehoneError):
    """The machine lacks something: a compiler, the package index, space, a whole environment."""

    exit_code = 2


class JobError(EdgehoneError):
    """A child process failed. `message` is the root cause, `log` the path of its whole output."""

    def __init__(self, message: str, *, log: Path | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.log = log


class NothingToGain(EdgehoneError):
    """What a recipe would do has nothing to work on in this model: it is skipped, which is no failure."""
