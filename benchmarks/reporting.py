"""report.html of 500 candidates and of 17: size, time to write, and time until it is usable in a browser."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.row import Row
from edgehone.report.html import page
from tests.report.browser import CHROMIUM, Browser
from tests.report.made import made

# The number of candidates in a large search, and in `make demo`.
MANY, FEW = 500, 17
TIMES = 5


def main() -> list[Row]:
    """Return megabytes and seconds. Opening is the median of five, the two pages alternately."""
    with tempfile.TemporaryDirectory() as folder:
        pages, seconds = {}, {}
        for count in (MANY, FEW):
            found = made(count)
            begun = time.perf_counter()
            text = page([found])
            seconds[count] = time.perf_counter() - begun
            pages[count] = Path(folder) / f"{count}.html"
            pages[count].write_text(text, "utf-8")
        sizes = {count: path.stat().st_size for count, path in pages.items()}
        rows = [
            Row(
                f"report of {MANY}, bytes", sizes[MANY] / 1e6, "MB", 5, f"of {FEW}: {sizes[FEW] / 1e6:.2f} MB"
            ),
            Row(f"report of {MANY}, written", seconds[MANY], "s", 2, f"of {FEW}: {seconds[FEW]:.2f} s"),
        ]
        if CHROMIUM:
            opened = _opened(Path(folder), pages)
            beside = f"of {FEW}: {opened[FEW]:.2f} s"
            rows.append(Row(f"report of {MANY}, usable", opened[MANY], "s", 2, beside))
        return rows


def _opened(folder: Path, pages: dict[int, Path]) -> dict[int, float]:
    """Return the seconds from the request until the layout is done and a slider has updated the ranking."""
    browser = Browser(folder / "profile")
    taken: dict[int, list[float]] = {count: [] for count in pages}
    try:
        for _ in range(TIMES):
            for count, path in pages.items():
                begun = time.perf_counter()
                browser.open(path)
                browser.value(
                    "document.querySelector('.sliders input').dispatchEvent(new Event('input'));"
                    "document.documentElement.scrollHeight"
                )
                taken[count].append(time.perf_counter() - begun)
    finally:
        browser.close()
    return {count: median(own) for count, own in taken.items()}
