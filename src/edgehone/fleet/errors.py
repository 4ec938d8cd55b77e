"""What an agent refuses, and what it could not do."""

from __future__ import annotations

from typing import Literal

from edgehone.core.errors import EdgehoneError

# Why a channel's document is refused: the attacks of TUF's specification, section 1.5.2.
Attack = Literal["signature", "mixed", "rollback", "freeze"]


class Refused(EdgehoneError):
    """A channel's document, or a release, is not what a publisher would send. The device goes on with what it runs."""

    exit_code = 2

    def __init__(self, attack: Attack, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.attack = attack


class BadRelease(EdgehoneError):
    """The release itself failed on this device: its signature, its start-up proof, or its server afterwards."""


class Unable(EdgehoneError):
    """This device cannot take the release: it does not fit, or there is no room. Nothing against the release."""
