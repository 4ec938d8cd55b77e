"""Read a pipeline file: one YAML document, known keys, values of the right kind, stages in their order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

from edgehone.core import typed_json
from edgehone.core.errors import InputError
from edgehone.core.suggestions import suggest
from edgehone.package.deployment import backends_of_framework, read_blocks
from edgehone.package.yaml_file import read_yaml, yaml_of
from edgehone.pipeline.document import DEPLOYMENTS, SECTION, Document, StageName

ORDER: Final[tuple[str, ...]] = get_args(StageName)
_HINT = "docs/pipeline.md lists the stages and their keys; edgehone pipeline check FILE"


def read_document(path: Path, changes: Sequence[str] = ()) -> Document:
    """Return the content of a pipeline file, with `changes` (KEY=VALUE below edge_ai_pipeline) over it.

    A file that has only blocks of `edgehone package --from` is a pipeline with the stage packaging. Raises InputError,
    with the place, the value and the nearest known word, for everything else that cannot be run.
    """
    found = read_yaml(path)
    if not isinstance(found, dict):
        raise InputError(f"{path} has no section {SECTION}", hint=_HINT)
    content: dict[str, Any] = {**found}
    deployments: dict[str, Any] = {name: content[name] for name in DEPLOYMENTS if name in content}
    if SECTION not in content and deployments:
        content[SECTION] = {"stages": ["packaging"]}
    for change in changes:
        _change(content, change)
    _check_keys(Document, content, str(path))
    document = typed_json.read(Document, content, str(path), hint=_HINT)
    _check_stages(document, str(path))
    if deployments:
        read_blocks(path, deployments)
    for name in document.edge_ai_pipeline.optimization.frameworks:
        backends_of_framework(name, f"{path}: {SECTION}.optimization.frameworks")
    return document


def _change(content: dict[str, Any], change: str) -> None:
    """Set a value of the section by KEY.KEY=VALUE."""
    key, equals, text = change.partition("=")
    if not equals or not key:
        raise InputError(f"--set is {change!r}", hint="give KEY=VALUE, such as testing.soak=30s")
    *tables, last = key.split(".")
    table: Any = content.setdefault(SECTION, {})
    for name in tables:
        table = table.setdefault(name, {}) if isinstance(table, dict) else None
    if not isinstance(table, dict):
        raise InputError(f"--set {change}: there is no table {'.'.join(tables)}", hint=_HINT)
    table[last] = yaml_of(text, f"--set {change}")


def _check_keys(cls: type, data: Any, where: str) -> None:
    """Raise InputError for an unknown key and an unknown word, with the nearest known one."""
    if not isinstance(data, Mapping):
        raise InputError(f"{where} is {str(data)[:60]!r}, not a mapping of names", hint=_HINT)
    hints = _hints(cls)
    for key, value in data.items():
        if key not in hints:
            raise InputError(
                f"{where}: the key {str(key)[:60]!r} is unknown; {suggest(key, hints)}", hint=_HINT
            )
        if is_dataclass(kind := hints[key]):
            _check_keys(kind, value, f"{where}: {key}")  # type: ignore[arg-type]
        for one in value if isinstance(value, list) else [value]:
            if (words := _words(kind)) and isinstance(one, str) and one not in words:
                raise InputError(f"{where}: {key} is {one[:60]!r}; {suggest(one, words)}", hint=_HINT)


@cache
def _hints(cls: type) -> Mapping[str, Any]:
    return get_type_hints(cls, include_extras=True)


def _words(kind: Any) -> Sequence[str]:
    """Return the words that a value, or each value of a list, may be; () for any."""
    inner = get_args(kind)[0] if get_origin(kind) is tuple else kind
    return get_args(inner) if get_origin(inner) is Literal else ()


def _check_stages(document: Document, where: str) -> None:
    stages, place = document.edge_ai_pipeline.stages, f"{where}: {SECTION}.stages"
    if not stages:
        raise InputError(f"{place} is empty", hint=f"known: {', '.join(ORDER)}")
    if twice := [name for name in stages if stages.count(name) > 1]:
        raise InputError(f"{place} has {twice[0]} twice", hint="give each stage once")
    ordered = sorted(stages, key=ORDER.index)
    if list(stages) != ordered:
        raise InputError(
            f"{place} are out of order: {', '.join(stages)}", hint=f"write them as: {', '.join(ordered)}"
        )
    if "packaging" in stages and not document.deployments:
        raise InputError(
            f"{place} has packaging, and the file has no packages", hint=f"add {' or '.join(DEPLOYMENTS)}"
        )


def stages_of(document: Document) -> tuple[str, ...]:
    """Return the stages that are run. Packages that the file describes are made even if `stages` does not say so."""
    named = set(document.edge_ai_pipeline.stages)
    if document.deployments:
        named.add("packaging")
    return tuple(name for name in ORDER if name in named)


def settings_fields(table: Any) -> dict[str, Any]:
    """Return the values of a table of the file, as JSON, without its approval, which does not change a result."""
    import msgspec

    plain = msgspec.to_builtins(table)
    return {one.name: plain[one.name] for one in fields(table) if one.name != "approval"}
