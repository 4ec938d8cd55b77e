"""Runtime settings of a recipe that a target's program does not have: notes, and why a draft model is refused."""

from __future__ import annotations

from collections.abc import Collection

from edgehone.backends.llamacpp.speculation import DRAFT
from edgehone.bundle.read import Bundle

# Settings by which tokens are drafted: the tokens are those of plain greedy generation.
SPECULATION = ("draft", "prompt_lookup")
# What programs are called.
PROGRAMS = {"ollama": "Ollama", "lm-studio": "LM Studio"}
# Settings of the machine where a bundle is run, which every program chooses for its own.
_OF_THE_MACHINE = ("threads", "decode_threads", "load", "affinity", "batch", "ubatch", "prefix_cache")


def has_draft(bundle: Bundle) -> bool:
    """Return whether the artifact has a second model that drafts tokens."""
    return (bundle.artifact / DRAFT).is_file()


def refused_draft(program: str) -> str:
    """Return why an artifact with a draft model is refused by a target whose program loads one model."""
    return f"its artifact has a second model that drafts tokens ({DRAFT}), and {program} loads one"


def notes(bundle: Bundle, applied: Collection[str], program: str) -> list[str]:
    """Return what a user must know of settings that the bundle was measured with and the program does not have."""
    settings = bundle.manifest.recipe["settings"]
    known = (*applied, *_OF_THE_MACHINE, *SPECULATION)
    found = drafting_notes(bundle, program)
    if missing := {name: one for name, one in settings.items() if name not in known}:
        found.append(
            f"the figures were measured with {_shown(missing)}, which is not set with {program}: tokens may differ"
        )
    return found


def drafting_notes(bundle: Bundle, program: str) -> list[str]:
    """Return what a user must know of a program that does not draft tokens as was measured."""
    settings = bundle.manifest.recipe["settings"]
    drafting = {name: settings[name] for name in SPECULATION if name in settings}
    if not drafting:
        return []
    return [
        f"the speed was measured with {_shown(drafting)}; with {program} no tokens are drafted: they are the "
        "same ones, each computed in a pass of its own"
    ]


def _shown(settings: dict[str, object]) -> str:
    return ", ".join(f"{name}={one}" for name, one in sorted(settings.items()))
