"""Kill operations on a registry at random points, and see that it verifies and no committed version is lost.

Run as a program of its own, which forks a child for each trial: the child performs one operation and kills itself
(SIGKILL) before the n-th of its calls to the operating system that open, sync, rename or remove something, or to the
database; or it is killed after a random time. One line of JSON a trial on standard output.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from edgehone.core.errors import EdgehoneError
from edgehone.registry import aliases
from edgehone.registry.collect import collect
from edgehone.registry.listing import versions
from edgehone.registry.names import Reference
from edgehone.registry.pull import pull
from edgehone.registry.push import push
from edgehone.registry.remote.pull import pull_from
from edgehone.registry.remote.push import push_to
from edgehone.registry.session import Registry, find, open_registry
from edgehone.registry.verify import verify

_WATCHED = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "socket.connect")


@dataclass(frozen=True)
class Place:
    """Where a trial happens: the registry, bundles to push, a repository elsewhere, and a folder for output."""

    where: str
    blobs: str
    bundles: list[Path]
    remote: str
    out: Path

    def open(self) -> Registry:
        """Open the registry."""
        return open_registry(self.where, Path(self.blobs) if self.blobs else None)


Operation = Callable[[Place, random.Random], None]


def _push(place: Place, chance: random.Random) -> None:
    # Not the first two, which stay: those that `_collect` gives up have blobs that are written again.
    push(place.open(), chance.choice(place.bundles[2:]), name=chance.choice(["demo", "other"]), by="ann")


def _pull(place: Place, chance: random.Random) -> None:
    pull(place.open(), _any(place, chance), place.out)


def _push_there(place: Place, chance: random.Random) -> None:
    registry = place.open()
    with registry.database.reading() as connection:
        version = find(connection, _any(place, chance))
    delta = chance.random() < 0.5
    push_to(registry, version, f"{place.remote}:{chance.randrange(3)}", by="ann", delta=delta)


def _pull_there(place: Place, chance: random.Random) -> None:
    tag = chance.choice(["first", "delta"])
    pull_from(place.open(), f"{place.remote}:{tag}", name="pulled", out=place.out, by="ann")


def _collect(place: Place, chance: random.Random) -> None:
    collect(place.open(), by="ann", keep=chance.choice([None, 1, 1]))


def _alias(place: Place, chance: random.Random) -> None:
    name = chance.choice(["staging", "production"])
    aliases.move(place.open(), name, Reference("demo", number=chance.choice([1, 2])), by="ann", why="a trial")


def _roll_back(place: Place, chance: random.Random) -> None:
    aliases.roll_back(place.open(), "demo", "production", by="ann", why="a trial")


OPERATIONS: dict[str, Operation] = {
    "push": _push,
    "pull": _pull,
    "push to": _push_there,
    "pull from": _pull_there,
    "gc": _collect,
    "alias": _alias,
    "rollback": _roll_back,
}


def _any(place: Place, chance: random.Random) -> Reference:
    """Return a version that has files."""
    usable = sorted((one.name, one.number) for one, _ in versions(place.open()) if not one.removed)
    name, number = chance.choice([one for one in usable if one[0] == "demo"])
    return Reference(name, number=number)


def count_calls(then: Callable[[int], None]) -> None:
    """Call `then` with a growing number before each call of this process that changes something that lasts."""
    count = 0

    def note() -> None:
        nonlocal count
        count += 1
        then(count)

    def audit(event: str, args: tuple[Any, ...]) -> None:
        # Opening to read changes nothing, and there are thousands where modules are imported.
        if event in _WATCHED and not (event == "open" and not _writes(args)):
            note()

    real = os.fsync

    def fsync(descriptor: int) -> None:
        note()
        real(descriptor)
        note()

    os.fsync = fsync  # type: ignore[assignment]
    sys.addaudithook(audit)
    for event in ("before_cursor_execute", "after_cursor_execute", "commit"):
        sa.event.listen(sa.Engine, event, lambda *_: note())


def _writes(args: tuple[Any, ...]) -> bool:
    mode, flags = args[1], args[2]
    return bool(set(mode or "") & set("wax+")) or bool(flags & (os.O_WRONLY | os.O_RDWR))


def run_child(
    place: Place, name: str, seed: int, kill_at: int | None, seconds: float | None
) -> dict[str, Any]:
    """Perform an operation in a child that dies at its `kill_at`-th call, or after `seconds`."""
    reader, writer = os.pipe()
    begun = time.monotonic()
    pid = os.fork()
    if pid == 0:
        _perform(place, name, seed, kill_at, writer)
    os.close(writer)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(pid, signal.SIGKILL)
    with os.fdopen(reader) as told:
        text = told.read()
    _, status = os.waitpid(pid, 0)
    killed = os.WIFSIGNALED(status)
    assert killed or os.WEXITSTATUS(status) == 0, text
    return {"killed": killed, "seconds": time.monotonic() - begun, **(json.loads(text) if text else {})}


def _perform(place: Place, name: str, seed: int, kill_at: int | None, writer: int) -> None:
    calls = 0

    def then(count: int) -> None:
        nonlocal calls
        calls = count
        if count == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    code = 1
    try:
        count_calls(then)
        error = None
        try:
            {**OPERATIONS, **ONE_BY_ONE}[name](place, random.Random(seed))
        except EdgehoneError as refused:
            error = refused.message
        os.write(writer, json.dumps({"calls": calls, "error": error}).encode())
        code = 0
    finally:
        os._exit(code)


def state(place: Place) -> dict[tuple[str, int], str]:
    """Return the digests of the versions that are committed and have their files."""
    return {(one.name, one.number): one.digest for one, _ in versions(place.open()) if not one.removed}


def check(place: Place, name: str, before: dict[tuple[str, int], str]) -> list[str]:
    """Return what is wrong after an operation was killed; nothing if all is well."""
    problems = list(verify(place.open()).problems)
    after = state(place)
    lost = {key for key, digest in before.items() if after.get(key) != digest}
    if name == "gc":  # gives up old ones, and says so
        removed = {(one.name, one.number) for one, _ in versions(place.open()) if one.removed}
        lost -= removed
    problems += [f"{key} was lost" for key in lost]
    if place.out.exists():
        from edgehone.attestation.verify import verify_bundle

        verify_bundle(place.out)
        shutil.rmtree(place.out)
    return problems


def trial(place: Place, chance: random.Random, known: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Kill one operation at a random point and check the registry."""
    name = chance.choice(list(OPERATIONS))
    seed = chance.randrange(1 << 30)
    before = state(place)
    usual = known[name]
    by_count = chance.random() < 0.7
    kill_at = (
        chance.randint(1, max(usual["calls"], 1)) if by_count else None
    )  # it may have more to do than usual
    seconds = None if by_count else chance.uniform(0, usual["seconds"])
    told = run_child(place, name, seed, kill_at, seconds)
    if not told["killed"]:
        usual.update({key: max(usual[key], told[key]) for key in ("calls", "seconds")})
    problems = check(place, name, before)
    return {"operation": name, "kill_at": kill_at, "after": seconds, **told, "problems": problems}


def _push_last(place: Place, chance: random.Random) -> None:
    push(place.open(), place.bundles[-1], name="demo", by="ann")


def _collect_old(place: Place, chance: random.Random) -> None:
    collect(place.open(), by="ann", keep=1)


# Operations that write and remove many blobs, killed at their calls one after the other.
ONE_BY_ONE: dict[str, Operation] = {"push last": _push_last, "gc old": _collect_old}


def one_by_one(place: Place, points: int) -> Iterator[dict[str, Any]]:
    """Kill each of ONE_BY_ONE at `points` of its calls, evenly spread, from one state; then push everything again."""
    registry, base = Path(place.where), Path(f"{place.where}.base")
    shutil.copytree(registry, base)
    for name in ONE_BY_ONE:
        calls = run_child(place, name, 1, None, None)["calls"]
        for kill_at in range(1, calls + 1, max(calls // points, 1)):
            shutil.rmtree(registry)
            shutil.copytree(base, registry)
            before = state(place)
            told = run_child(place, name, 1, kill_at, None)
            problems = check(place, "gc" if name == "gc old" else name, before)
            for bundle in place.bundles:
                push(place.open(), bundle, name="demo", by="ann")
            problems += [f"after pushing again: {one}" for one in verify(place.open()).problems]
            yield {"operation": name, "kill_at": kill_at, **told, "problems": problems}
    shutil.rmtree(registry)
    base.rename(registry)


def main() -> None:
    """Run the trials."""
    parser = argparse.ArgumentParser()
    parser.add_argument("where")
    parser.add_argument("--blobs", default="")
    parser.add_argument("--bundles", nargs="+", type=Path, required=True)
    parser.add_argument("--remote", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--trials", type=int, required=True)
    parser.add_argument("--points", type=int, default=0, help="of ONE_BY_ONE, for a registry in a folder")
    parser.add_argument("--seed", type=int, required=True)
    args = parser.parse_args()
    place = Place(args.where, args.blobs, args.bundles, args.remote, args.out)
    registry = place.open()
    for bundle in place.bundles[:-1]:
        first = push(registry, bundle, name="demo", by="ann").version
    push_to(registry, first, f"{place.remote}:first", by="ann")
    push_to(registry, first, f"{place.remote}:delta", by="ann", delta=True)
    for number in (1, 2):
        aliases.move(registry, "production", Reference("demo", number=number), by="ann", why="first")
    if args.points:
        for told in one_by_one(place, args.points):
            print(json.dumps(told), flush=True)
    known = {}
    for name in OPERATIONS:  # once without a kill, to know how long it takes
        known[name] = run_child(place, name, 1, None, None)
        assert not check(place, name, {}), name
    chance = random.Random(args.seed)
    for _ in range(args.trials):
        print(json.dumps(trial(place, chance, known)), flush=True)
    place.open()
    for name in OPERATIONS:  # everything still works
        told = run_child(place, name, 2, None, None)
        print(
            json.dumps({"operation": name, **told, "last": True, "problems": check(place, name, {})}),
            flush=True,
        )


if __name__ == "__main__":
    main()
