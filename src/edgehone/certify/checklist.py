"""The production check-list: filled from checks, and by persons for what only they can answer."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib.resources import files
from typing import Any, Literal

from edgehone.attestation.certificate import CheckResult, ListItem
from edgehone.core import typed_json
from edgehone.core.errors import InputError
from edgehone.core.suggestions import suggest
from edgehone.core.typed_json import OPTIONAL

EDGEHONE = "edgehone"


@dataclass(frozen=True)
class Item:
    """An item of data/checklist.toml, which says what the fields are."""

    phase: Literal["before", "during", "after"]
    text: str
    checks: tuple[str, ...] = field(default=(), metadata=OPTIONAL)
    facts: str | None = field(default=None, metadata=OPTIONAL)


@lru_cache(maxsize=1)
def items() -> Mapping[str, Item]:
    """Return the items by name, in their order."""
    data = tomllib.loads(files("edgehone").joinpath("data/checklist.toml").read_text("utf-8"))
    return {name: typed_json.read(Item, one, f"checklist.toml [{name}]") for name, one in data.items()}


@dataclass(frozen=True)
class Answer:
    """A person's answer to an item. `done` is False for an answer that begins with "no"."""

    text: str
    by: str

    @property
    def done(self) -> bool:
        """Whether the item is done."""
        words = self.text.strip().lower().split()
        return bool(words) and words[0].strip(",.:;") != "no"


def read_answers(words: Sequence[str], by: str | None) -> dict[str, Answer]:
    """Return the answers given as ITEM=TEXT. Raises InputError for an unknown item, no text, or no name."""
    if words and not (by and by.strip()):
        raise InputError("--answer needs the name of the person who answers", hint="add --by NAME")
    if by and not words:
        raise InputError("--by is given without an answer", hint='add --answer ITEM="TEXT"')
    found = {}
    for word in words:
        name, equals, text = (part.strip() for part in word.partition("="))
        if name not in items():
            raise InputError(f"the check-list has no item {name!r}", hint=suggest(name, list(items())))
        if not (equals and text):
            raise InputError(f"--answer {word!r} is not ITEM=TEXT", hint=f'--answer {name}="where and how"')
        if by == EDGEHONE:
            raise InputError("--by edgehone: only a person can answer", hint="add --by NAME")
        found[name] = Answer(text, str(by).strip())
    return found


def earlier(checklist: Sequence[ListItem]) -> dict[str, Answer]:
    """Return the answers of persons in an earlier check-list."""
    return {one.name: Answer(one.answer, one.by) for one in checklist if one.by not in ("", EDGEHONE)}


def filled(
    checks: Sequence[CheckResult], monitoring: Mapping[str, Any], answers: Mapping[str, Answer]
) -> tuple[ListItem, ...]:
    """Return the check-list. A fact that shows an item done, or not done, takes precedence over a person's answer."""
    by_name = {one.name: one for one in checks}
    return tuple(_item(name, one, by_name, monitoring, answers.get(name)) for name, one in items().items())


def _item(
    name: str,
    item: Item,
    checks: Mapping[str, CheckResult],
    monitoring: Mapping[str, Any],
    answer: Answer | None,
) -> ListItem:
    open_item = ListItem(
        name=name, phase=item.phase, text=item.text, done=None, answer="only a person can answer", by=""
    )
    known = open_item
    if item.facts is not None:
        count = len(monitoring.get(item.facts, ()))
        known = replace(
            open_item, done=count > 0, answer=f"{count} {item.facts} in the certificate", by=EDGEHONE
        )
    elif item.checks:
        known = _from_checks(open_item, [checks[one] for one in item.checks if one in checks])
    if answer is None or known.done is not None:
        return known
    return replace(known, done=answer.done, answer=answer.text, by=answer.by)


def _from_checks(item: ListItem, checks: Sequence[CheckResult]) -> ListItem:
    """Return the item as far as the checks show it; undecided and skipped ones leave it open."""
    failed = [one.name for one in checks if one.outcome == "failed"]
    unknown = [f"{one.name} is {one.outcome}" for one in checks if one.outcome in ("undecided", "skipped")]
    if failed:
        return replace(item, done=False, answer=f"{', '.join(failed)} failed", by=EDGEHONE)
    if not checks:
        return replace(item, answer="not shown: no check of it was made")
    if unknown:
        return replace(item, answer=f"not shown: {', '.join(unknown)}")
    names = ", ".join(one.name for one in checks)
    return replace(item, done=True, answer=f"passed: {names}", by=EDGEHONE)
