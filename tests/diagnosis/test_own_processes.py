"""Which processes are a bundle's own, and that what they do is not blamed on others."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import edgehone
from edgehone.diagnosis import facts
from edgehone.diagnosis.own_processes import processes_of
from tests.finished import Finished

# Says that it is ready, and waits until its input ends.
_WAITS = "print(flush=True); import sys; sys.stdin.read()"
_MAPS = f"import mmap, sys; file = open(sys.stdin.readline()[:-1]); m = mmap.mmap(file.fileno(), 0, prot=1); {_WAITS}"
_STARTS = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {_WAITS!r}])"

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    running: list[subprocess.Popen[str]] = []

    def begin(code: str, *words: str, cwd: Path | None = None, told: str = "") -> subprocess.Popen[str]:
        command = [sys.executable, "-c", code, *words]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=cwd)
        running.append(process)
        assert process.stdin and process.stdout
        process.stdin.write(told)
        process.stdin.flush()
        assert process.stdout.readline()
        return process

    yield begin
    for process in running:
        process.communicate()


def test_those_that_are_given_the_folder_or_map_its_files_and_their_children(
    tmp_path: Path, start: Start
) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (tmp_path / "bundle2").mkdir()
    (bundle / "weights").write_bytes(b"w" * 4096)
    (tmp_path / "link").symlink_to(bundle)
    own = [
        start(_WAITS, str(bundle)),
        start(_WAITS, f'{{"args": ["{bundle}/job"]}}'),
        start(_WAITS, "bundle", cwd=tmp_path),
        start(_STARTS, f"{bundle}/"),
    ]
    if Path("/proc/self/maps").exists():
        own.append(start(_MAPS, told=f"{bundle}/weights\n"))
    others = [start(_WAITS, str(tmp_path / "bundle2")), start(_WAITS, "bundle"), start(_WAITS, str(tmp_path))]
    for asked in (bundle, tmp_path / "link"):
        found = processes_of(asked)
        assert {one.pid for one in own} | {os.getpid()} <= found
        assert not {one.pid for one in others} & found
        assert len(found) == len(own) + 2  # this one, and the child of one of them


def test_what_the_bundles_own_server_takes_is_not_blamed_on_others(
    finished: Finished, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start(_WAITS, str(finished.bundle))
    monkeypatch.setattr(facts, "others_demand", lambda own: 0.0 if server.pid in own else 64.0)
    known = facts.of_bundle(edgehone.read(finished.bundle))
    assert known["others_per_processor"].value == 0 and (known["crowded_threads"].value or 0) <= 0  # type: ignore[operator]
