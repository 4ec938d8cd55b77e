"""Several processes that use one registry at the same time, on each database."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgehone.registry.listing import history, versions
from edgehone.registry.session import open_registry
from edgehone.registry.verify import verify
from tests.registry.bundles import Make, weights
from tests.registry.conftest import POSTGRES, place_of

# Each of the processes opens a registry that does not exist yet, pushes the bundles in another order, and collects.
_USE = """
import os, sys, time
from pathlib import Path
from edgehone.registry.collect import collect
from edgehone.registry.push import push
from edgehone.registry.session import open_registry
where, blobs, *bundles = sys.argv[1:]

def use(number):
    registry = open_registry(where, Path(blobs) if blobs else None)
    for place in range(len(bundles)):
        push(registry, Path(bundles[(number + place) % len(bundles)]), name="demo", by=str(number))
        if place % 2:
            collect(registry, by=str(number))

children = []
for number in range(6):
    if (pid := os.fork()) == 0:
        use(number)
        os._exit(0)
    children.append(pid)
for pid in children:
    assert os.waitpid(pid, 0)[1] == 0
"""


@pytest.mark.parametrize(
    "place", [pytest.param("sqlite", marks=pytest.mark.whole), pytest.param("postgres", marks=POSTGRES)]
)
def test_many_processes_open_push_and_collect(
    request: pytest.FixtureRequest, make: Make, tmp_path: Path, place: str
) -> None:
    request.param = place
    where, blobs = place_of(request, tmp_path)
    bundles = [str(make(weights(number, 1_200_000))) for number in range(4)]
    words = [sys.executable, "-c", _USE, where, str(blobs or ""), *bundles]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    registry = open_registry(where, blobs)
    found = verify(registry)
    assert found.problems == () and found.notes == ()
    assert sorted(version.number for version, _ in versions(registry, "demo")) == [1, 2, 3, 4]
    assert len(history(registry)) == 4
