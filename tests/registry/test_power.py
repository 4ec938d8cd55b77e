"""A registry survives being killed at any point, and a disk that is full at any write."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgehone.core.errors import EdgehoneError
from edgehone.registry import aliases
from edgehone.registry.collect import collect
from edgehone.registry.listing import versions
from edgehone.registry.names import Reference, parse
from edgehone.registry.pull import pull
from edgehone.registry.push import push
from edgehone.registry.remote.pull import pull_from
from edgehone.registry.remote.push import push_to
from edgehone.registry.session import Registry, open_registry
from edgehone.registry.verify import verify
from tests.disks import small_file_system
from tests.registry.bundles import Make, content, weights
from tests.registry.conftest import new_database

pytestmark = [pytest.mark.whole, pytest.mark.xdist_group("oci")]
SIZE = 1_500_000


def kill(where: list[str], make: Make, docker: str, tmp_path: Path, trials: int) -> list[dict[str, object]]:
    bundles = [make(weights(number, SIZE)) for number in range(5)]
    command = [sys.executable, "-m", "tests.registry.killing", *where, "--bundles", *map(str, bundles)]
    command += ["--remote", f"oci://{docker}/killed/{tmp_path.name.replace('_', '-').lower()}"]
    command += ["--out", str(tmp_path / "out"), "--trials", str(trials), "--seed", str(trials)]
    if len(where) == 1:
        command += ["--points", "1000" if trials > 100 else "3"]
    root = str(Path(__file__).parents[2])
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one for one in found if one["problems"]] == []
    assert all(one["error"] is None for one in found if one.get("last") and one["operation"] != "rollback")
    return found


def test_killed_at_some_points(make: Make, docker: str, tmp_path: Path) -> None:
    found = kill([str(tmp_path / "registry")], make, docker, tmp_path, 6)
    assert sum(one["killed"] is True for one in found) >= 6


@pytest.mark.long
@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_killed_at_200_points(
    request: pytest.FixtureRequest, make: Make, docker: str, tmp_path: Path, database: str
) -> None:
    where = [str(tmp_path / "registry")]
    if database == "postgres":
        where = [new_database(request.getfixturevalue("postgres_url")), "--blobs", str(tmp_path / "blobs")]
    found = kill(where, make, docker, tmp_path, 200)
    assert sum(one["killed"] is True for one in found) >= 120
    assert {one["operation"] for one in found if one["killed"]} >= {
        "push",
        "pull",
        "push to",
        "pull from",
        "gc",
    }


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MB."""
    with small_file_system(tmp_path / "disk", "16m") as place:
        yield place


def fill(disk: Path, free: int) -> None:
    """Fill a file system but for some bytes."""
    status = os.statvfs(disk)
    with (disk / "filler").open("wb") as file:
        file.write(b"\1" * max(status.f_bavail * status.f_frsize - free, 0))


def _push(registry: Registry, bundle: Path, url: str, out: Path) -> None:
    push(registry, bundle, name="demo", by="ann")


def _pull(registry: Registry, bundle: Path, url: str, out: Path) -> None:
    pull(registry, parse("demo:1"), out)


def _pull_there(registry: Registry, bundle: Path, url: str, out: Path) -> None:
    pull_from(registry, url, name="there", out=out, by="ann")


def _alias(registry: Registry, bundle: Path, url: str, out: Path) -> None:
    aliases.move(registry, "production", Reference("demo", number=1), by="ann", why="a full disk")


def _collect(registry: Registry, bundle: Path, url: str, out: Path) -> None:
    collect(registry, by="ann", keep=1)


OPERATIONS = {"push": _push, "pull": _pull, "pull from": _pull_there, "alias": _alias, "gc": _collect}
FEW = (0, 8 << 10, 900 << 10)
MANY = tuple(
    n << 10 for n in (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 100, 200, 400, 800, 1600, 2400, 3200)
)


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("levels", [FEW, pytest.param(MANY, marks=pytest.mark.long)], ids=["few", "many"])
def test_a_full_disk(
    small_disk: Path, make: Make, docker: str, tmp_path: Path, name: str, levels: tuple[int, ...]
) -> None:
    base = open_registry(str(tmp_path / "base"))
    bundles = [make(weights(number, SIZE)) for number in range(3)]
    first = push(base, bundles[0], name="demo", by="ann").version
    push(base, bundles[1], name="demo", by="ann")
    url = f"oci://{docker}/full/{name.replace(' ', '-')}:1"
    other = open_registry(str(tmp_path / "other"))  # so that none of the blobs is on the small disk
    push_to(other, push(other, bundles[2], name="there", by="ann").version, url, by="ann")
    operation: Callable[[Registry, Path, str, Path], None] = OPERATIONS[name]
    told = 0
    for free in levels:
        for inside in small_disk.iterdir():
            shutil.rmtree(inside) if inside.is_dir() else inside.unlink()
        shutil.copytree(base.blobs.folder, small_disk / "registry")
        fill(small_disk, free)
        out = small_disk / "out"
        try:
            operation(open_registry(str(small_disk / "registry")), bundles[2], url, out)
        except EdgehoneError as error:
            told += 1
            assert error.exit_code == 2 and "no space left" in error.message and error.hint, error.message
            assert not out.exists()
        (small_disk / "filler").unlink()
        registry = open_registry(str(small_disk / "registry"))
        assert verify(registry).problems == ()
        kept = {version.digest for version, _ in versions(registry)}
        assert first.digest in kept and len(kept) >= 2
        operation(registry, bundles[2], url, out)
        assert verify(registry).problems == () and verify(registry).notes == ()
        if out.exists():
            assert content(out) == content(bundles[2 if name == "pull from" else 0])
    assert told
