"""The raw samples of bundles, read one candidate at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from zipfile import BadZipFile

from edgehone.bundle.schema import evidence_folder
from edgehone.report.export import Line
from edgehone.report.findings import Findings
from edgehone.report.samples import array_readings, readings


def lines(place: Path, found: Findings, tell: Callable[[str], None] = lambda what: None) -> Iterator[Line]:
    """Every reading of the bundle at `place`, of which `found` is what is known; `tell` hears what can't be read."""
    import numpy as np

    folders = {evidence_folder(place, key): key for key in found.samples}
    folders |= {
        file.parent: file.parent.name.replace("__", "/", 1) for file in place.glob("evidence/*/tokens.npz")
    }
    for folder, key in sorted(folders.items()):
        for one in readings(found.samples.get(key, {}), found.decision.workload):
            yield found.name, key, one
        if (file := folder / "tokens.npz").exists():
            try:
                with np.load(file) as arrays:
                    columns = {name: arrays[name] for name in arrays.files}
            except (OSError, ValueError, BadZipFile) as error:
                tell(f"{file} cannot be read: {error}")
                continue
            for one in array_readings(columns):
                yield found.name, key, one
