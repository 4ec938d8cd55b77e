"""Deployment files: YAML blocks with the requirements on a package (`edgehone package --from FILE`).

A block becomes requirements on the bundle's artifact, options of a target, a size budget, and notes about what is asked
and not done. The meaning of blocks, keys and values is in deployment.toml.
"""

from __future__ import annotations

import functools
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgehone.backends import registry as all_backends
from edgehone.bundle.read import Bundle
from edgehone.core.errors import InputError
from edgehone.core.sizes import bytes_of_size
from edgehone.core.suggestions import suggest
from edgehone.decision.decision import Candidate, Decision
from edgehone.package import registry
from edgehone.package.budget import price
from edgehone.package.target import Target
from edgehone.package.yaml_file import read_yaml

_HINT = "docs/package.md lists the blocks, keys and values of deployment files"


@dataclass(frozen=True)
class Block:
    """A block of a deployment file. `asked` has its keys, of all its tables, with their values as text."""

    name: str
    asked: Mapping[str, str]

    @property
    def targets(self) -> Sequence[str]:
        """The targets that can be made of it."""
        found: Sequence[str] = _table()["blocks"][self.name]
        return found


@dataclass(frozen=True)
class Wishes:
    """A block's requirements on a package for a target: options, a budget in bytes, and notes on what is not done."""

    options: Mapping[str, str]
    budget: int | None
    notes: tuple[str, ...]


@functools.cache
def _table() -> Mapping[str, Any]:
    return tomllib.loads(Path(__file__).with_name("deployment.toml").read_text("utf-8"))


def read_blocks(path: Path, content: Mapping[str, Any] | None = None) -> tuple[Block, ...]:
    """Return the blocks of a deployment file, or of its `content`, if that was read already.

    Raises InputError, with the nearest known word, for what is unknown.
    """
    sections: Mapping[str, Sequence[str]] = _table()["sections"]
    blocks = []
    whole = read_yaml(path) if content is None else content
    for section, found in _mapping(whole, str(path)).items():
        _check_known(section, sections, f"{path}: the section '{section}'")
        for name, block in _mapping(found, f"{path}: {section}").items():
            _check_known(name, sections[section], f"{path}: the block '{name}' of {section}")
            blocks.append(Block(name, _asked(_mapping(block, f"{path}: {name}"), f"{path}: {name}")))
    if not blocks:
        raise InputError(f"{path} has no block", hint=_HINT)
    return tuple(blocks)


def backends_of_framework(name: str, where: str) -> Sequence[str]:
    """Return the backends that a framework's name means, or the installed backend of that name.

    Raises InputError, with the nearest known word, for another name.
    """
    frameworks: Mapping[str, Sequence[str]] = _table()["frameworks"]
    if name in frameworks:
        return frameworks[name]
    installed = all_backends.names()
    if name not in installed:
        raise InputError(
            f"{where}: the framework {name[:60]!r} is unknown; {suggest(name, [*frameworks, *installed])}",
            hint="edgehone backends",
        )
    return (name,)


def schema() -> dict[str, Any]:
    """Return the JSON Schema of each section, by its name."""
    table = _table()
    keys: dict[str, Any] = {}
    for key in _keys():
        words = list(_values(key))
        plain = [word == "true" if word in ("true", "false") else word for word in words]
        keys[key] = {"enum": plain} if words else {"type": "string", "minLength": 2}
    inner = {"type": "object", "properties": keys, "additionalProperties": False}
    block = {**inner, "properties": {**keys, **dict.fromkeys(table["tables"]["known"], inner)}}
    return {
        section: {
            "type": "object",
            "properties": {name: {"$ref": "#/$defs/Block"} for name in names},
            "additionalProperties": False,
        }
        for section, names in table["sections"].items()
    } | {"Block": block}


def _asked(content: Mapping[str, Any], where: str) -> dict[str, str]:
    """Return the keys of a block and of its tables."""
    table = _table()
    asked = dict[str, str]()
    for key, value in content.items():
        within = _mapping(value, f"{where}.{key}") if key in table["tables"]["known"] else {key: value}
        for name, one in within.items():
            _check_known(name, _keys(), f"{where}: the key '{name}'", also=table["tables"]["known"])
            text = str(one).lower() if isinstance(one, bool) else str(one)
            if isinstance(one, (dict, list)) or one is None:
                raise InputError(f"{where}: {name} is {one!r}", hint="give one word, number or size")
            if known := _values(name):
                _check_known(text, known, f"{where}: the value '{text}' of {name}")
            elif name in table["sizes"]["known"]:
                bytes_of_size(text, f"{where}: {name}")
            if name in asked:
                raise InputError(f"{where}: {name} is given twice", hint="give it once")
            asked[name] = text
    return asked


def _keys() -> list[str]:
    table = _table()
    return ["framework", "quantization", "format", *table["sizes"]["known"], *table["settings"]]


def _values(key: str) -> Sequence[str]:
    """Return the values that a key may have; none for sizes."""
    table = _table()
    plural = {"framework": "frameworks", "quantization": "quantizations", "format": "formats"}
    return list(table[plural[key]] if key in plural else table["settings"].get(key, ()))


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise InputError(f"{where} is {str(value)[:60]!r}, not a mapping of names", hint=_HINT)
    return value


def _check_known(word: str, known: Any, what: str, also: Sequence[str] = ()) -> None:
    if word not in known:
        raise InputError(f"{what} is unknown; {suggest(word, [*known, *also])}", hint=_HINT)


def block_for(blocks: Sequence[Block], target: str, bundle: Bundle) -> Block:
    """Return the block that is about a target; of several, the first whose framework is that of the bundle."""
    fitting = [one for one in blocks if target in one.targets]
    if not fitting:
        targets = ", ".join(f"{one.name} ({', '.join(one.targets)})" for one in blocks)
        raise InputError(f"no block of the file is about {target}; its blocks are {targets}", hint=_HINT)
    return next((one for one in fitting if _unmet_backend(one, bundle) is None), fitting[0])


def target_of(block: Block) -> str:
    """Return the first target that is installed of those that can be made of a block."""
    known = registry.names()
    name = next((one for one in block.targets if one in known), None)
    if name is None:
        raise InputError(
            f"no target for {block.name} is installed ({', '.join(block.targets)}); targets: {', '.join(known)}",
            hint="edgehone package --list",
        )
    return name


def wishes_of(block: Block, target: Target, bundle: Bundle) -> Wishes:
    """Return the requirements of a block on a package for a target.

    Raises InputError if the artifact is of another framework or format than the block asks for.
    """
    if unmet := _unmet_backend(block, bundle):
        raise InputError(unmet[0], hint=unmet[1])
    sizes = [bytes_of_size(block.asked[key], key) for key in _table()["sizes"]["known"] if key in block.asked]
    notes = [note] if (note := _quantization_note(block, bundle)) else []
    options = dict[str, str]()
    for key, value in block.asked.items():
        if rule := _table()["settings"].get(key, {}).get(value):
            if offered := next((one for one in rule.get("options", ()) if _offers(target, one)), None):
                name, _, chosen = offered.partition("=")
                options[name] = chosen
            elif "met" not in rule and target.NAME not in rule.get("targets", ()):
                asked = (
                    f"{block.name} asks for {key}: {value}, which the target {target.NAME} has no option for"
                )
                notes.append(f"{asked}; nearest: {rule['nearest']}")
    return Wishes(options, min(sizes, default=None), tuple(notes))


def _offers(target: Target, option: str) -> bool:
    """Return True if a target has an option that may have that value."""
    name, _, value = option.partition("=")
    return any(one.name == name and value in (one.choices or (value,)) for one in target.OPTIONS)


def _unmet_backend(block: Block, bundle: Bundle) -> tuple[str, str] | None:
    """Return why the bundle's artifact is not of the framework and format that a block asks for, and what to do."""
    backend = bundle.manifest.recipe["backend"]
    for key, table in (("framework", "frameworks"), ("format", "formats")):
        if key in block.asked and backend not in (wanted := _table()[table][block.asked[key]]):
            own = f"{backend}/{bundle.manifest.recipe['name']}"
            return (
                f"{block.name} asks for {key}: {block.asked[key]}; the bundle's artifact is {own}",
                _remake(
                    bundle.decision,
                    [one for one in bundle.decision.candidates if one.backend in wanted],
                    wanted,
                ),
            )
    return None


def _remake(decision: Decision, candidates: Sequence[Candidate], backends: Sequence[str]) -> str:
    """Return which candidate comes nearest, and the command that makes a bundle of its backend."""
    passing = [one for one in candidates if one.passes]
    command = "sh BUNDLE/reproduce.sh --backends {} --out NEW"
    if not passing:
        tried = (
            "no candidate of it passes every gate" if candidates else "the decision has no candidate of it"
        )
        return f"{tried}; to try: {command.format(backends[-1])}"
    nearest = min(passing, key=_divergence)
    return (
        f"the decision's candidate {nearest.key} comes nearest; its price: {price(nearest, decision)}. To make it: "
        f"{command.format(nearest.backend)}"
    )


def _divergence(candidate: Candidate) -> float:
    value = candidate.figure("kl_mean").value
    return math.inf if value is None else value


def _quantization_note(block: Block, bundle: Bundle) -> str | None:
    """Return a note if the bundle's recipe is not of the quantization that a block asks for."""
    asked = block.asked.get("quantization")
    if asked is None:
        return None
    beginnings: Sequence[str] = _table()["quantizations"][asked]
    recipe = bundle.manifest.recipe
    if _rank(str(recipe["name"]), [one for one in beginnings if not one.startswith("~")]) is not None:
        return None
    ranked = [
        (rank, _divergence(one), one)
        for one in bundle.decision.candidates
        if one.passes and one.backend == recipe["backend"] and one.key != bundle.decision.bundled
        if (rank := _rank(one.key.partition("/")[2], beginnings)) is not None
    ]
    own = f"{block.name} asks for quantization {asked}; the bundle has {recipe['name']}"
    if not ranked:
        return (
            f"{own}, which was chosen by measurement; no other candidate that passes every gate comes nearer"
        )
    nearest = min(ranked, key=lambda one: one[:2])[2]
    return f"{own}; the decision's candidate {nearest.key} comes nearest: {price(nearest, bundle.decision)}"


def _rank(recipe: str, beginnings: Sequence[str]) -> int | None:
    """Return the place of the first beginning that a recipe's name has, None if it has none of them."""
    name = recipe.lower()
    return next((at for at, one in enumerate(beginnings) if name.startswith(one.removeprefix("~"))), None)
