"""What the user says about a re-optimization, and where its files lie."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Options:
    """`bundle` is the champion that is served as `model`, `state` the folder of `edgehone serve --state`.

    `samples_key` is the file of --samples-key-file, `out` where the challenger is written. It is optimized with at most
    `seconds` of time for each step and, if given, on `processors` processors. `registry` (a folder or a database's URL,
    `blobs` as for `edgehone registry`) gets it as a version of `name` with the alias challenger; None: nowhere.
    `signing_key` signs the certificate, of a soak of `soak` seconds; `profile` are its thresholds. `least` samples are
    needed. `model_path` is the original, if it is not where the bundle says.
    """

    bundle: Path
    state: Path
    model: str
    samples_key: Path
    out: Path
    registry: str | None = None
    blobs: Path | None = None
    name: str | None = None
    signing_key: Path | None = None
    profile: Path | None = None
    soak: float = 60.0
    seconds: float = 4 * 3600.0
    processors: int | None = None
    least: int = 64
    model_path: Path | None = None

    @property
    def work(self) -> Path:
        """The folder of texts, of a store of their own, and of the challenger until it is complete."""
        target = self.out.absolute()
        return target.with_name(f".{target.name}.reoptimize")

    def digest(self, manifest: str) -> str:
        """Return what must be the same for an interrupted re-optimization to go on."""
        given = (manifest, self.model, str(self.model_path), str(self.profile), self.soak)
        return hashlib.sha256(repr(given).encode()).hexdigest()
