"""All errors that edgehone raises intentionally.

    EdgehoneError               exit 1   something failed; not a programming error of the caller
    ├── InputError              exit 2   invalid input: a file, a value, a name
    │   ├── ModelError                   the model folder: missing, truncated, unknown, unsupported
    │   └── TextError                    evaluation, calibration or task file
    ├── SetupError              exit 2   the machine: no compiler, no package index, no space, a broken environment
    ├── JobError                exit 1   a child process failed; has the root cause and the path of the log
    ├── MachineBusy             exit 4   other programs leave no undisturbed time to measure, and the run must not wait
    ├── NothingToGain           exit 1   a recipe has no effect on this model; other recipes continue
    └── NothingPasses           exit 3   no candidate passes the gates; has the decision (edgehone.decision.errors)
        └── NotDecided          exit 4   speed could not be measured well enough to tell whether one passes

An error says what happened, shows the offending value, and suggests the next command (`hint`).
"""

from __future__ import annotations

from pathlib import Path


class EdgehoneError(Exception):
    """Base class. `message` says what happened and shows the value, `hint` says what to do next."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InputError(EdgehoneError):
    """Invalid input."""

    exit_code = 2


class ModelError(InputError):
    """The model cannot be read or is not supported."""


class TextError(InputError):
    """An evaluation, calibration or task file cannot be used."""


class SetupError(EdgehoneError):
    """The machine lacks something: a compiler, the package index, disk space, a working environment."""

    exit_code = 2


class JobError(EdgehoneError):
    """A child process failed. `message` is the root cause, `log` the path of its complete output."""

    def __init__(self, message: str, *, log: Path | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.log = log


class MachineBusy(EdgehoneError):
    """Other programs leave no undisturbed time to measure speed in, and the user does not want to wait."""

    exit_code = 4


class NothingToGain(EdgehoneError):
    """A recipe has no effect on this model. It is skipped, which is not a failure."""
