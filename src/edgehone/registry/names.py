"""Names of models and aliases, and references to versions: NAME, NAME:3, NAME:production, NAME@sha256:…."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgehone.core.errors import InputError

# A name is also the repository of an OCI registry, so it follows the grammar of the OCI distribution specification.
_NAME = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_ALIAS = re.compile(r"[a-z][a-z0-9._-]{0,62}")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
ALIASES = ("challenger", "champion", "staging", "production")


@dataclass(frozen=True)
class Reference:
    """A version as the user names it: at most one of `number`, `alias` and `digest`; none means the newest version."""

    name: str
    number: int | None = None
    alias: str | None = None
    digest: str | None = None

    def __str__(self) -> str:
        if self.digest:
            return f"{self.name}@{self.digest}"
        chosen = self.alias if self.number is None else self.number
        return self.name if chosen is None else f"{self.name}:{chosen}"


def parse(text: str) -> Reference:
    """Return the reference that `text` is. Raises InputError if it is none."""
    name, at, digest = text.partition("@")
    if at:
        if not DIGEST.fullmatch(digest):
            raise InputError(
                f"{text!r} has no valid digest: sha256: and 64 hexadecimal digits follow the @",
                hint="edgehone registry list",
            )
        return Reference(check_name(name), digest=digest)
    name, colon, chosen = text.partition(":")
    check_name(name)
    if not colon:
        return Reference(name)
    if chosen.isdecimal() and chosen.isascii() and 0 < len(chosen) < 10:
        return Reference(name, number=int(chosen))
    return Reference(name, alias=check_alias(chosen))


def check_name(name: str) -> str:
    """Return the name of a model. Raises InputError if it is not valid."""
    if len(name) > 200 or not _NAME.fullmatch(name):
        raise InputError(
            f"{name!r} is not a name: lower-case letters and digits, separated by . _ - or /",
            hint="edgehone registry list; to push under another name: edgehone registry push BUNDLE --name NAME",
        )
    return name


def check_alias(alias: str) -> str:
    """Return the alias. Raises InputError if it is not valid."""
    if not _ALIAS.fullmatch(alias):
        raise InputError(
            f"{alias!r} is not an alias: a lower-case letter, then at most 62 of a-z 0-9 . _ -",
            hint=f"use one of {', '.join(ALIASES)}, or one of your own",
        )
    return alias


def name_of_model(model: str) -> str:
    """Return the name under which a model is registered by default: its own in the characters that names may have."""
    words = re.findall(r"[a-z0-9]+", model.lower())
    return check_name("-".join(words) or "model")
