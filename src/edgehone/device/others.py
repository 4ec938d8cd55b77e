"""What other programs take of the processors right now, and which programs they are."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from edgehone.device.busy import others_share, read_busy

# Long enough for the kernel's counters, which advance by 10 ms.
SECONDS = 0.5
# Programs below this share of the processors are not named.
NAMED = 0.05


def others_now() -> dict[str, Any]:
    """Watch the machine for half a second while this process waits.

    Return `share`, the share (0 to 1) of the processors that all other processes took, None if unknown, and `programs`,
    the names of those that took most, with their shares.
    """
    before, busy, begun = _seconds_by_process(), read_busy(), time.monotonic()
    time.sleep(SECONDS)
    # On a busy machine this process wakes up late.
    watched = time.monotonic() - begun
    share, after = others_share(busy, read_busy()), _seconds_by_process()
    cores = os.cpu_count() or 1  # all of the machine, as in `others_share`
    took: dict[str, float] = {}
    for pid, (name, seconds) in after.items():
        if pid != os.getpid():
            # A process that was started meanwhile, also under an id that another one had, began at 0.
            earlier = before.get(pid, (name, 0.0))[1]
            used = seconds - earlier if seconds >= earlier else seconds
            took[name] = took.get(name, 0.0) + used / (watched * cores)
    named = [(name, share) for name, share in took.items() if share >= NAMED]
    return {"share": share, "programs": sorted(named, key=lambda one: -one[1])[:3]}


def _seconds_by_process(proc: Path = Path("/proc")) -> dict[int, tuple[str, float]]:
    """Return the name and the processor seconds of each process so far, by its id; {} without /proc."""
    tick = os.sysconf("SC_CLK_TCK")
    seconds: dict[int, tuple[str, float]] = {}
    for folder in proc.glob("[0-9]*"):
        try:
            line = (folder / "stat").read_text("utf-8", "replace")
        except OSError:  # it ended meanwhile
            continue
        # The name is in parentheses and may contain any character.
        start, end = line.find("("), line.rfind(")")
        fields = line[end + 2 :].split()
        if start >= 0 and len(fields) > 12:
            seconds[int(folder.name)] = line[start + 1 : end], (int(fields[11]) + int(fields[12])) / tick
    return seconds
