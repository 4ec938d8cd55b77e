"""Read the raw samples of a bundle, one candidate at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from zipfile import BadZipFile

from edgehone.bundle.schema import evidence_folder, evidence_key
from edgehone.report.export import Line
from edgehone.report.findings import Findings
from edgehone.report.samples import array_readings, readings


def lines(
    bundle: Path, findings: Findings, report: Callable[[str], None] = lambda text: None
) -> Iterator[Line]:
    """Yield every sample of the bundle in that folder with those `findings`. Call `report` for unreadable files."""
    import numpy as np

    folders = {evidence_folder(bundle, key): key for key in findings.samples}
    folders |= {file.parent: evidence_key(file.parent) for file in bundle.glob("evidence/*/tokens.npz")}
    for folder, key in sorted(folders.items()):
        for one in readings(findings.samples.get(key, {}), findings.decision.workload):
            yield findings.name, key, one
        if (file := folder / "tokens.npz").exists():
            try:
                with np.load(file) as arrays:
                    columns = {name: arrays[name] for name in arrays.files}
            except (OSError, ValueError, BadZipFile) as error:
                report(f"{file} cannot be read: {error}")
                continue
            for one in array_readings(columns):
                yield findings.name, key, one
