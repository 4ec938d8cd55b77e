"""Write the reports of a run into its folder, each all or nothing."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgehone.pipeline.reports import html, junit, markdown
from edgehone.pipeline.result import Result
from edgehone.pipeline.stage import Stage


def write_reports(out: Path, title: str, stages: Sequence[Stage], results: Mapping[str, Result]) -> None:
    """Write results.xml, results.md and index.html. Raises OSError if the disk is full; the earlier ones then stay."""
    for name, text in (
        ("results.xml", junit.render(title, list(results.values()))),
        ("results.md", markdown.render(title, stages, results)),
        ("index.html", html.render(title, stages, results)),
    ):
        write_whole(out / name, text)


def write_whole(path: Path, text: str) -> None:
    """Write a file so that a reader, and a crash, find the old or the new content."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
