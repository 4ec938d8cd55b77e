"""Notice that files of a certified bundle change while it is served.

A look compares sizes, inodes and times of all files; only where these differ are files read and their digests compared.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NoReturn

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from edgehone.attestation.files import read_files, shown, state_of
from edgehone.serve.model import Model
from edgehone.serve.served import Served

LOOK_SECONDS = 30.0


class Looked:
    """What was seen of a bundle: its digests as they were verified, its state, and the names of changed files."""

    def __init__(self, served: Served) -> None:
        assert served.trusted is not None
        self.path, self._state = served.bundle.path, served.trusted.verified.state
        # The manifest names most files; the others, itself and what certification added, are small.
        listed = dict(served.bundle.manifest.files)
        try:
            own = {name: _digest(path) for name, path in _files(self.path) if name not in listed}
        except OSError:  # they are gone already, as those that are listed may be, which a look tells
            own = {}
        self._digests: Mapping[str, str] = {**listed, **own}
        self.changed: tuple[str, ...] = ()

    def look(self) -> bool:
        """Look again. Returns whether the changed files are others than before."""
        try:
            state = state_of(self.path)
            if state == self._state:
                return False
            found = read_files(self.path)
        except OSError:  # the whole folder is gone, or cannot be read
            state, digests = "", dict[str, str]()
        else:
            digests = dict(found.digests)
        names = {*self._digests, *digests}
        changed = tuple(sorted(one for one in names if self._digests.get(one) != digests.get(one)))
        before, self.changed, self._state = self.changed, changed, state
        return changed != before


class Changes(Collector):
    """Checks the certified bundles that are served, and reports how many files of each have changed."""

    def __init__(self, models: Iterable[Model], say: Callable[[str], None]) -> None:
        self._models, self._say = models, say
        self._looked: dict[str, tuple[Served, Looked]] = {}

    async def run(self, seconds: float = LOOK_SECONDS) -> NoReturn:
        """Look every so many seconds."""
        while True:
            await self.look()
            await asyncio.sleep(seconds)

    async def look(self) -> None:
        """Look once."""
        served = {one.name: one.served for one in self._models if one.served.trusted}
        for gone in self._looked.keys() - served:
            del self._looked[gone]
        for name, one in served.items():
            known = self._looked.get(name)
            if known is None or known[0] is not one:
                known = self._looked[name] = one, await asyncio.to_thread(Looked, one)
            if await asyncio.to_thread(known[1].look):
                changed = known[1].changed
                listed = ", ".join(map(shown, changed[:5])) + (", …" if len(changed) > 5 else "")
                self._say(
                    f"warning: {name}: {len(changed)} files of {one.bundle.path} have changed since it was verified: "
                    f"{listed}"
                    if changed
                    else f"{name}: the files of {one.bundle.path} are again those that were verified"
                )

    def collect(self) -> Iterable[Metric]:
        """Return the metric."""
        found = GaugeMetricFamily(
            "edgehone_changed_files",
            "Files of a certified bundle that have changed since it was verified.",
            labels=["model"],
        )
        for name, (_, looked) in self._looked.items():
            found.add_metric([name], len(looked.changed))
        yield found


def _files(folder: Path) -> Iterable[tuple[str, Path]]:
    return ((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
