"""Damage to a registry: found by verify, told by name, mended by pushing again; and removing what is not needed."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from edgehone.cli.main import main
from edgehone.core.errors import EdgehoneError, InputError
from edgehone.registry import aliases
from edgehone.registry.collect import collect
from edgehone.registry.differences import compare
from edgehone.registry.listing import versions
from edgehone.registry.names import Reference, parse
from edgehone.registry.pull import pull
from edgehone.registry.push import push
from edgehone.registry.session import DATABASE, Registry, open_registry
from edgehone.registry.verify import set_aside, verify
from tests.registry.bundles import LARGE, Make, content, weights


@pytest.fixture
def pushed(registry: Registry, make: Make) -> tuple[Registry, Path]:
    """A registry with one version, and its bundle."""
    bundle = make(weights(1))
    push(registry, bundle, name="demo", by="ann")
    return registry, bundle


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


PARTS = {
    "chunk": lambda folder: next(path for path in sorted((folder / "chunks").glob("*/*"))),
    "list of chunks": lambda folder: next((folder / "chunked").iterdir()),
    "whole blob": lambda folder: max(
        (folder / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size
    ),
    "manifest": lambda folder: (
        folder
        / "blobs"
        / "sha256"
        / json.loads((folder / "index.json").read_text())["manifests"][0]["digest"][7:]
    ),
}


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("damage", [flip, cut_short, Path.unlink], ids=["flipped", "cut", "missing"])
def test_damaged_blobs_are_found_refused_and_mended(
    pushed: tuple[Registry, Path], tmp_path: Path, part: str, damage: Callable[[Path], None]
) -> None:
    registry, bundle = pushed
    damage(PARTS[part](registry.blobs.folder))
    found = verify(registry)
    assert found.problems and all("demo:1" in one for one in found.problems), found.problems
    with pytest.raises(InputError) as caught:
        pull(registry, parse("demo"), tmp_path / "out")
    assert caught.value.hint and not (tmp_path / "out").exists()
    set_aside(registry, found.damaged)
    push(registry, bundle, name="demo", by="ann")
    assert verify(registry).problems == ()
    pull(registry, parse("demo"), tmp_path / "out")
    assert content(tmp_path / "out") == content(bundle)


def test_gc_removes_nothing_where_it_is_not_known_what_is_needed(pushed: tuple[Registry, Path]) -> None:
    registry, _ = pushed
    before = set((registry.blobs.folder / "chunks").glob("*/*"))
    next((registry.blobs.folder / "chunked").iterdir()).write_text("no list")
    with pytest.raises(InputError, match="its list of chunks"):
        collect(registry, by="ann")
    assert set((registry.blobs.folder / "chunks").glob("*/*")) == before


@pytest.mark.parametrize("page", range(0, 16, 3))
def test_a_damaged_database_is_told(
    pushed: tuple[Registry, Path], page: int, capsys: pytest.CaptureFixture[str]
) -> None:
    registry, _ = pushed
    file = registry.blobs.folder / DATABASE
    with sqlite3.connect(file) as connection:
        connection.execute("pragma wal_checkpoint(truncate)")
    data = bytearray(file.read_bytes())
    assert len(data) >= (page + 1) * 4096
    data[page * 4096 : (page + 1) * 4096] = b"\xa5" * 4096
    file.write_bytes(data)
    words = ["--registry", str(registry.blobs.folder)]
    code = main(["registry", "verify", *words])
    out, err = capsys.readouterr()
    assert code in (1, 2) and "damaged" in out + err, out + err
    assert main(["registry", "list", *words]) in (0, 2)


@pytest.mark.parametrize("seed", range(12))
def test_a_database_with_random_bytes_is_told(
    pushed: tuple[Registry, Path], tmp_path: Path, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever is read: no traceback, no endless work, and a bundle that is written is the one that was pushed."""
    registry, bundle = pushed
    aliases.move(registry, "production", parse("demo:1"), by="ann", why="ok")
    file, chance = registry.blobs.folder / DATABASE, random.Random(seed)
    with sqlite3.connect(file) as connection:
        connection.execute("pragma wal_checkpoint(truncate)")
    data = bytearray(file.read_bytes())
    for _ in range(chance.choice([1, 8, 200])):
        at = chance.randrange(chance.choice([100, 4096, len(data)]))
        data[at] ^= chance.randrange(1, 256)
    file.write_bytes(data)
    _told_by_every_action(registry, bundle, tmp_path / "out", capsys)


def _told_by_every_action(
    registry: Registry, bundle: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> dict[str, int]:
    """Run every action on a damaged registry: each ends with an exit code of its own and an error in words."""
    words, codes = ["--registry", str(registry.blobs.folder)], dict[str, int]()
    for command in (
        ["list"], ["show", "demo"], ["history"], ["at", "2026-01-01", "production"], ["diff", "demo:1", "demo:1"],
        ["alias", "demo", "staging", "1", "--why", "x"], ["rollback", "demo", "production", "--why", "x"], ["gc"],
        ["push", str(bundle)], ["pull", "demo", "--out", str(out)], ["verify"],
    ):  # fmt: skip
        code = codes[command[0]] = main(["registry", *command, *words])
        told = capsys.readouterr()
        assert code in (0, 1, 2) and "Traceback" not in told.err, (command, told.err)
        assert code != 2 or ("error" in told.err and "\n" in told.err), (command, told.err)
    assert not out.exists() or content(out) == content(bundle)
    return codes


@pytest.mark.parametrize(
    "damage",
    [
        "update versions set facts = '{'", "update versions set facts = '[]'", "update versions set facts = '{}'",
        "update versions set facts = cast(x'ff41' as text)", "update versions set facts = x'00'",
        "update versions set size = 'many'", "update versions set pushed = 7", "update versions set approval = x'ff'",
        "update versions set number = 'one'", "update events set detail = '{'", "update events set detail = '[1]'",
        "update events set at = 7", "update events set detail = x'ff'", "update events set number = 'x'",
        "update registry set uid = x'ff'", "update registry set events = 'x'", "delete from registry",
        "update aliases set version = 'x'", "update files set digest = x'ff'", "update files set size = 'x'",
    ],
)  # fmt: skip
def test_values_that_edgehone_does_not_write_are_told(
    pushed: tuple[Registry, Path], tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    registry, bundle = pushed
    aliases.move(registry, "production", parse("demo:1"), by="ann", why="ok")
    with sqlite3.connect(registry.blobs.folder / DATABASE) as connection:
        triggers = connection.execute("select name from sqlite_master where type = 'trigger'").fetchall()
        for (name,) in triggers:
            connection.execute(f"drop trigger {name}")
        connection.execute("pragma foreign_keys = off")
        connection.execute(damage)
    assert _told_by_every_action(registry, bundle, tmp_path / "out", capsys)["verify"] in (1, 2)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "registry").mkdir()
    (tmp_path / "registry" / DATABASE).write_text("not a database, but long enough to have a header" * 10)
    with pytest.raises(InputError, match="is damaged or not a registry's database") as caught:
        open_registry(str(tmp_path / "registry"))
    assert caught.value.hint and "mv " in caught.value.hint
    with pytest.raises(InputError, match="is a file"):
        open_registry(str(tmp_path / "registry" / DATABASE))


def test_blobs_of_another_registry_are_refused(pushed: tuple[Registry, Path], tmp_path: Path) -> None:
    registry, _ = pushed
    (registry.blobs.folder / DATABASE).unlink()
    with pytest.raises(InputError, match=r"is missing, but .* holds the blobs of a registry"):
        open_registry(str(registry.blobs.folder))
    with pytest.raises(InputError, match=f"belong to the registry {registry.uid}"):
        open_registry(str(tmp_path / "new"), registry.blobs.folder)
    (registry.blobs.folder / "registry.json").unlink()
    with pytest.raises(InputError, match=r"registry\.json is missing"):
        open_registry(str(tmp_path / "newer"), registry.blobs.folder)


@pytest.mark.parametrize(
    "url",
    ["postgresql://127.0.0.1:1/none", "postgresql://nobody@no.invalid/none", "mysql://x/y", "what://ever"],
)
def test_a_database_that_cannot_be_reached(url: str, tmp_path: Path) -> None:
    with pytest.raises(EdgehoneError) as caught:
        open_registry(url, tmp_path / "blobs")
    assert caught.value.exit_code == 2 and caught.value.hint


def test_a_password_is_not_shown(tmp_path: Path) -> None:
    with pytest.raises(EdgehoneError) as caught:
        open_registry("postgresql://ann:secret@127.0.0.1:1/none", tmp_path / "blobs")
    assert "secret" not in caught.value.message


def test_gc_removes_what_no_version_needs(pushed: tuple[Registry, Path], tmp_path: Path) -> None:
    registry, bundle = pushed
    assert collect(registry, by="ann").bytes == 0
    with registry.blobs.adding() as adding:  # a push that was killed before its end
        (tmp_path / "big").write_bytes(weights(9))
        from edgehone.registry.blobs import digest_of

        adding.add_file(tmp_path / "big", digest_of(weights(9)))
        adding.add_bytes(b"small")
        (registry.blobs.incoming / "tmpabc").write_bytes(b"rest")
    assert collect(registry, by="ann", dry=True).bytes > LARGE
    assert collect(registry, by="ann").bytes > LARGE
    assert collect(registry, by="ann").files == 0
    assert verify(registry).problems == ()
    pull(registry, parse("demo"), tmp_path / "out")
    assert content(tmp_path / "out") == content(bundle)


def test_gc_gives_up_old_versions_but_not_those_that_had_an_alias(
    registry: Registry, make: Make, tmp_path: Path
) -> None:
    bundles = [make(weights(number)) for number in range(5)]
    for bundle in bundles:
        push(registry, bundle, name="demo", by="ann")
    for number in (2, 4):
        aliases.move(registry, "production", Reference("demo", number=number), by="ann", why="ok")
    assert collect(registry, by="ann", keep=1, dry=True).versions == ("demo:3", "demo:1")
    done = collect(registry, by="ann", keep=1)
    assert done.versions == ("demo:3", "demo:1") and done.bytes > 2 * LARGE
    assert [(version.number, version.removed is None) for version, _ in versions(registry)] == [
        (5, True),
        (4, True),
        (3, False),
        (2, True),
        (1, False),
    ]
    assert verify(registry).problems == ()
    with pytest.raises(InputError, match="the files of demo:3 were removed"):
        pull(registry, parse("demo:3"), tmp_path / "out")
    with pytest.raises(InputError, match="were removed, so it cannot get an alias"):
        aliases.move(registry, "staging", Reference("demo", number=3), by="ann", why="ok")
    again = push(registry, bundles[2], name="demo", by="ann")
    assert again.version.number == 3 and again.version.removed is None
    pull(registry, parse("demo:3"), tmp_path / "out")
    assert verify(registry).problems == ()


def test_gc_waits_for_a_push(registry: Registry, make: Make) -> None:
    import threading

    told: list[str] = []
    with registry.blobs.adding() as adding:
        adding.add_bytes(b"a blob that no version needs yet")
        thread = threading.Thread(target=lambda: collect(registry, by="ann", on_wait=told.append))
        thread.start()
        thread.join(0.3)
        assert thread.is_alive() and told
        bundle = make(weights(1, 100))
    thread.join(10)
    assert not thread.is_alive()
    push(registry, bundle, name="demo", by="ann")
    assert verify(registry).problems == ()


def test_verify_writes_nothing_and_tells_of_an_old_index(pushed: tuple[Registry, Path]) -> None:
    registry, bundle = pushed
    registry.blobs.write_index([])
    found = verify(registry)
    assert found.problems == () and "index.json is behind" in found.notes[0]
    push(registry, bundle, name="demo", by="ann")
    assert verify(registry).notes == ()


def test_the_difference_of_two_versions(registry: Registry, make: Make, tmp_path: Path) -> None:
    one = weights(1, 2 * LARGE)
    push(registry, make(one), name="demo", by="ann")
    texts = {"evaluation": "0" * 64}
    push(registry, make(one + b"more", approved=False, texts=texts), name="demo", by="ann")
    found = compare(registry, parse("demo:1"), parse("demo:2"))
    assert found.comparable and found.figures == () and found.recipe == {}
    assert found.data["approval"] == ("yes", "no")
    assert found.data["texts.evaluation"][1] == "0" * 64
    assert set(found.files) == {"artifact/model.gguf", "manifest.json"}
    assert found.shared_bytes > LARGE
    assert main(["registry", "diff", "demo:1", "demo:2", "--registry", str(registry.blobs.folder)]) == 0
    shutil.rmtree(tmp_path / "registry" / "chunks")
    compare(registry, parse("demo:1"), parse("demo:2"))  # it needs the documents only


def test_a_mistyped_name_or_version(
    registry: Registry, make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    push(registry, make(), name="demo-model", by="ann")
    words = ["--registry", str(registry.blobs.folder)]
    for reference, what in {
        "demo-modle": "did you mean 'demo-model'",
        "demo-model:7": "no version demo-model:7",
        "demo-model:live": "has no alias 'live'; it has: none",
        "demo-model@sha256:12": "no valid digest",
        "Demo": "is not a name",
        "demo-model:../x": "is not an alias",
        f"demo-model@sha256:{'0' * 64}": "no version",
    }.items():
        assert main(["registry", "show", reference, *words]) == 2
        assert what in capsys.readouterr().err, reference
    assert main(["registry", "list", "demo-modle", *words]) == 2
    assert main(["registry", "history", "demo-modle", *words]) == 2
    assert main(["registry", "pull", "demo-model", *words]) == 2
    assert "needs --out" in capsys.readouterr().err
