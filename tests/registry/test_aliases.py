"""Aliases: who may get one, compare-and-set, races, rollback, and the history of moves; on both databases."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edgehone.cli.main import main
from edgehone.core.errors import InputError
from edgehone.registry import aliases
from edgehone.registry.aliases import Conflict
from edgehone.registry.listing import describe, history, versions
from edgehone.registry.names import Reference, parse
from edgehone.registry.push import push
from edgehone.registry.session import Registry, find
from edgehone.registry.verify import verify
from tests.attestation.signed import certified, make_key
from tests.registry.bundles import Make, weights
from tests.registry.conftest import POSTGRES, place_of


def filled(registry: Registry, make: Make, count: int = 3) -> None:
    for number in range(count):
        push(registry, make(weights(number, 100)), name="demo", by="ann")


def point(registry: Registry, number: int, alias: str = "production", **more: object) -> None:
    aliases.move(registry, alias, Reference("demo", number=number), by="ann", why="a test", **more)  # type: ignore[arg-type]


def pointed(registry: Registry, alias: str = "production") -> int:
    with registry.database.reading() as connection:
        return find(connection, Reference("demo", alias=alias)).number


def test_an_alias_moves_and_its_moves_are_kept(any_registry: Registry, make: Make) -> None:
    filled(any_registry, make)
    point(any_registry, 1)
    point(any_registry, 3)
    assert pointed(any_registry) == 3
    assert [(one.number, one.by) for one in history(any_registry, "demo", "production")] == [
        (1, "ann"),
        (3, "ann"),
    ]
    assert describe(any_registry, parse("demo:production"))["aliases"] == ["production"]
    assert [(version.number, its) for version, its in versions(any_registry, "demo")] == [
        (3, ["production"]),
        (2, []),
        (1, []),
    ]
    assert verify(any_registry).problems == ()


def test_a_move_from_another_version_than_expected_is_refused(any_registry: Registry, make: Make) -> None:
    filled(any_registry, make)
    point(any_registry, 1, expected=None)
    with pytest.raises(
        Conflict, match=r"points to version 1 since .* moved by ann; it was to be moved from 2"
    ):
        point(any_registry, 3, expected=2)
    with pytest.raises(Conflict, match="it was to be moved from none"):
        point(any_registry, 3, expected=None)
    assert pointed(any_registry) == 1
    assert len(history(any_registry, "demo", "production")) == 1


def test_moving_to_where_it_is_makes_no_event(registry: Registry, make: Make) -> None:
    filled(registry, make, 1)
    point(registry, 1)
    point(registry, 1)
    assert len(history(registry, "demo", "production")) == 1


def test_a_rollback_goes_back_step_by_step(any_registry: Registry, make: Make) -> None:
    filled(any_registry, make)
    for number in (1, 2, 1, 3):
        point(any_registry, number)
    back = [
        aliases.roll_back(any_registry, "demo", "production", by="bob", why="bad").number for _ in range(3)
    ]
    assert back == [1, 2, 1]
    with pytest.raises(InputError, match="no earlier version"):
        aliases.roll_back(any_registry, "demo", "production", by="bob", why="bad")
    point(any_registry, 3)
    assert aliases.roll_back(any_registry, "demo", "production", by="bob", why="bad").number == 1


def test_a_removed_alias_can_be_rolled_back(registry: Registry, make: Make) -> None:
    filled(registry, make, 2)
    point(registry, 2)
    aliases.drop(registry, "demo", "production", by="bob", why="pause")
    with pytest.raises(InputError, match="has no alias 'production'"):
        pointed(registry)
    assert aliases.roll_back(registry, "demo", "production", by="bob", why="go on").number == 2
    assert verify(registry).problems == ()


def test_only_approved_versions_get_an_alias_unless_forced(registry: Registry, make: Make) -> None:
    push(registry, make(approved=False), name="demo", by="ann")
    with pytest.raises(InputError, match="demo:1 is not approved"):
        point(registry, 1)
    point(registry, 1, force=True)
    (event,) = history(registry, "demo", "production")
    assert json.loads(event.detail)["forced"] is True and json.loads(event.detail)["approval"] == "no"


@pytest.mark.parametrize("approval", ["yes", "conditional", "no"])
def test_the_certificate_decides_where_there_is_one(
    registry: Registry, bundle: Path, tmp_path: Path, approval: str
) -> None:
    conditions = () if approval == "yes" else ("watch the latency",)
    key = make_key(tmp_path)
    version = push(
        registry,
        certified(bundle, key, approval, conditions),  # type: ignore[arg-type]
        name="demo",
        by="ann",
        key=key.with_suffix(".pub"),
    ).version
    assert version.approval == approval and version.signed_by and version.facts["profile"] == "production"
    if approval == "yes":
        point(registry, 1)
        return
    with pytest.raises(
        InputError, match="on conditions only" if approval == "conditional" else "is not approved"
    ):
        point(registry, 1)


def test_a_version_that_lacks_a_blob_gets_no_alias(registry: Registry, make: Make) -> None:
    filled(registry, make, 1)
    version = versions(registry)[0][0]
    registry.blobs.whole(version.digest).unlink()
    with pytest.raises(InputError, match="lacks 1 of its blobs"):
        point(registry, 1, force=True)


# Forks eight processes that each wait for a file to appear and then move the alias; one line of outcome from each.
_RACE = """
import os, sys, time
from pathlib import Path
from edgehone.registry import aliases
from edgehone.registry.names import Reference
from edgehone.registry.session import open_registry
where, blobs, begin = sys.argv[1:]

def race(number):
    registry = open_registry(where, Path(blobs) if blobs else None)
    Path(f"{begin}-{number}").touch()
    while not Path(begin).exists():
        time.sleep(0.0005)
    try:
        target = Reference("demo", number=number)
        aliases.move(registry, "production", target, by=str(number), why="a race", expected=1)
    except aliases.Conflict as error:
        return f"told {number} {error.message}"
    return f"won {number}"

for number in range(2, 10):
    if os.fork() == 0:
        os.write(1, (race(number) + chr(10)).encode())
        os._exit(0)
while not all(Path(f"{begin}-{number}").exists() for number in range(2, 10)):
    time.sleep(0.001)
Path(begin).touch()
for _ in range(8):
    assert os.wait()[1] == 0
"""


@pytest.mark.parametrize(
    "place", [pytest.param("sqlite", marks=pytest.mark.whole), pytest.param("postgres", marks=POSTGRES)]
)
def test_of_eight_racing_promotions_one_wins_and_the_others_are_told(
    request: pytest.FixtureRequest, make: Make, tmp_path: Path, place: str
) -> None:
    from edgehone.registry.session import open_registry

    request.param = place
    where, blobs = place_of(request, tmp_path)
    registry = open_registry(where, blobs)
    filled(registry, make, 9)
    point(registry, 1)
    words = [sys.executable, "-c", _RACE, where, str(blobs or ""), str(tmp_path / "begin")]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    outcomes = sorted(done.stdout.splitlines())
    assert [line.split()[0] for line in outcomes] == ["told"] * 7 + ["won"]
    winner = int(outcomes[-1].split()[1])
    assert pointed(registry) == winner
    expected = f"points to version {winner} since"
    assert all(expected in line and f"moved by {winner}" in line for line in outcomes[:-1])
    assert len(history(registry, "demo", "production")) == 2
    assert verify(registry, quick=True).problems == ()


def test_the_command_line(registry: Registry, make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    filled(registry, make)
    where = ["--registry", str(registry.blobs.folder)]
    assert main(["registry", "alias", "demo", "staging", "2", "--why", "try it", *where]) == 0
    assert (
        main(["registry", "alias", "demo", "production", "staging", "--from", "none", "--why", "ok", *where])
        == 0
    )
    assert "demo:production none → 2: ok" in capsys.readouterr().out
    assert main(["registry", "alias", "demo", "production", "3", "--from", "1", "--why", "ok", *where]) == 1
    assert "points to version 2" in capsys.readouterr().err
    assert main(["registry", "alias", "demo", "production", "3", "--why", "ok", *where]) == 0
    assert main(["registry", "rollback", "demo", "production", "--why", "bad", *where]) == 0
    assert "3 → 2 (rollback): bad" in capsys.readouterr().out
    assert main(["registry", "history", "demo", "production", "--json", *where]) == 0
    assert [event["kind"] for event in json.loads(capsys.readouterr().out)] == ["alias", "alias", "rollback"]
    for words in (["9"], ["nothing"], ["2", "--remove"], ["2", "--from", "x"], []):
        assert main(["registry", "alias", "demo", "production", *words, "--why", "ok", *where]) == 2
        assert "next:" in capsys.readouterr().err
