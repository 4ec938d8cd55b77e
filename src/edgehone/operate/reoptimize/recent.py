"""The requests that a server kept of a bundle, decrypted with the operator's key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edgehone.core.errors import InputError
from edgehone.serve.drift import kept, sealed
from edgehone.serve.drift.store import states
from edgehone.serve.infer.tensor import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Recent:
    """Requests, the latest last, each once: `prompts` (ids), or `tensors` of graphs with `labels` (None: not known).

    `notes` say what was left out.
    """

    prompts: Sequence[tuple[int, ...]]
    tensors: Sequence[Mapping[str, NDArray[Any]]]
    labels: Sequence[int | None]
    notes: tuple[str, ...]

    @property
    def count(self) -> int:
        """The number of requests."""
        return len(self.prompts) or len(self.tensors)


def read_recent(state: Path, model: str, manifest: str, key: bytes) -> Recent:
    """Return what was kept of the bundle with this manifest digest, served as `model`, since it drifted.

    Raises InputError if nothing was kept, or of other bundles only, and if the key is another one.
    """
    folder = kept.folder_of(state / kept.FOLDER, model, manifest)
    files = sorted(folder.glob("*.sealed"))
    if not files:
        raise _nothing(state, model, manifest)
    notes: list[str] = []
    records: list[dict[str, Any]] = []
    for path in files:
        opened = sealed.open_file(path, key)
        wanted = {"model": model, "manifest": manifest}
        if opened.header and dict(opened.header) != wanted:
            raise InputError(f"{path} is about another bundle: {opened.header}", hint=f"remove it: rm {path}")
        notes += [opened.damage] if opened.damage else []
        records += [msgspec.msgpack.decode(one) for one in opened.records]
    labels = {one["id"]: one["label"] for one in records if "label" in one and one["id"]}
    requests = [one for one in records if "label" not in one]
    chosen, why = _since(requests, _changed(state, model, manifest))
    return Recent(
        list(dict.fromkeys(tuple(one["ids"]) for one in chosen if "ids" in one)),
        [*_tensors(chosen)],
        [labels.get(one["id"]) if one["id"] else None for one in chosen if "tensors" in one],
        (*notes, why),
    )


def _changed(state: Path, model: str, manifest: str) -> int | None:
    """Return how many requests ago the traffic changed, by the stored state; None without an alarm."""
    for one in states(state):
        if one.get("model") == model and one.get("manifest") == manifest:
            since = one.get("since")
            return since if isinstance(since, int) else None
    return None


def _since(requests: Sequence[dict[str, Any]], since: int | None) -> tuple[Sequence[dict[str, Any]], str]:
    if since is None:
        return requests, f"all {len(requests)} kept requests are used, since no alarm says when they changed"
    if since >= len(requests):
        return requests, f"all {len(requests)} kept requests came after the change, {since} requests ago"
    return requests[-since:], f"{since} of {len(requests)} kept requests came after the change"


def _tensors(records: Sequence[dict[str, Any]]) -> Iterator[Mapping[str, NDArray[Any]]]:
    for one in records:
        if "tensors" in one:
            parts = (Tensor(name, dtype, tuple(shape), data) for name, dtype, shape, data in one["tensors"])
            yield {part.name: part.array for part in parts}


def _nothing(state: Path, model: str, manifest: str) -> InputError:
    hint = "edgehone serve BUNDLE --state DIR --keep-samples 2000 --samples-key-file FILE"
    folder = state / kept.FOLDER
    others = sum(1 for one in folder.iterdir() if any(one.glob("*.sealed"))) if folder.is_dir() else 0
    if not others:
        return InputError(f"no server has kept samples in {state}", hint=hint)
    return InputError(
        f"{state} has kept samples of {others} other bundles or names, but none of this bundle ({manifest[:12]}) "
        f"served as {model!r}",
        hint="give the bundle that is served, and its name: --model NAME",
    )
