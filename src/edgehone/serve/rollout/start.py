"""Checks of a challenger before it is loaded: it must answer the same requests, and fit beside the champion."""

from __future__ import annotations

from collections.abc import Sequence

import psutil

from edgehone.core.errors import InputError
from edgehone.inference.run_bundle import has_template
from edgehone.serve.infer.served import ServedGraph
from edgehone.serve.measured.processes import read_processes
from edgehone.serve.served import Served, ServedLanguage

# What must be left for the rest of the machine.
_LEFT = 256e6
_MEGABYTE = 1e6


def check_same_api(champion: Served, challenger: Served, *, other_model: bool) -> None:
    """Raise InputError unless the challenger answers the champion's requests.

    It must be built from a model of the same name, or from the same files, unless `other_model`.
    """
    old, new = champion.bundle.manifest, challenger.bundle.manifest
    if old.kind != new.kind:
        raise _other(champion, challenger, "kind", old.kind, new.kind)
    if old.digest == new.digest:
        raise InputError(
            f"{challenger.bundle.path} is the bundle that is served as {champion.name} already",
            hint="give another version: edgehone registry list",
        )
    same = any(old.model.get(name) == new.model.get(name) for name in ("name", "digest"))
    if not same and not other_model:
        raise InputError(
            f"{challenger.bundle.path} is built from {new.model.get('name')}, and {champion.name} is "
            f"{old.model.get('name')}",
            hint="if it is meant to answer the same requests: --other-model",
        )
    if isinstance(champion, ServedGraph) and isinstance(challenger, ServedGraph):
        for name in ("inputs", "outputs"):
            first, second = (
                [(p.name, p.dtype, [*p.shape]) for p in getattr(one, name)] for one in (champion, challenger)
            )
            if first != second:
                raise _other(champion, challenger, name, first, second)
        if not isinstance(champion.embedding, str) and isinstance(challenger.embedding, str):
            raise _other(champion, challenger, "embedding", "there", challenger.embedding)
    elif isinstance(champion, ServedLanguage) and isinstance(challenger, ServedLanguage):
        if has_template(champion.bundle) and not has_template(challenger.bundle):
            raise _other(champion, challenger, "chat template", "there", "missing")
        if bool(champion.pictures) != bool(challenger.pictures):
            raise _other(champion, challenger, "pictures", bool(champion.pictures), bool(challenger.pictures))
        if champion.ends != challenger.ends:
            raise _other(champion, challenger, "ids that end a text", champion.ends, challenger.ends)
        if (champion.context or 0) > (challenger.context or champion.context or 0):
            raise _other(champion, challenger, "context", champion.context, challenger.context)


def check_memory(champion: Served, challenger: Served, processes: Sequence[int]) -> None:
    """Raise InputError unless the challenger fits into what is left, judged by the champion's processes.

    The estimate: what the champion takes, and by how many bytes the challenger's artifact is larger.
    """
    taken = sum(one.resident_bytes for one in read_processes([("engine", champion.name, processes)]))
    more = _size(challenger) - _size(champion)
    needed, available = taken + max(0, more), psutil.virtual_memory().available
    if needed + _LEFT > available:
        raise InputError(
            f"two engines at once do not fit: {challenger.bundle.path} needs about {needed / _MEGABYTE:.0f} MB, and "
            f"{available / _MEGABYTE:.0f} MB are available, of which {_LEFT / _MEGABYTE:.0f} MB must stay free",
            hint="free some memory, serve the challenger on another machine (--haproxy), or swap: POST /admin/bundles",
        )


def _size(served: Served) -> int:
    return sum(path.stat().st_size for path in served.bundle.artifact.rglob("*") if path.is_file())


def _other(champion: Served, challenger: Served, what: str, old: object, new: object) -> InputError:
    return InputError(
        f"{challenger.bundle.path} cannot replace {champion.name}: {what} is {str(new)[:80]}, not {str(old)[:80]}",
        hint="serve it under another name: POST /admin/bundles",
    )
