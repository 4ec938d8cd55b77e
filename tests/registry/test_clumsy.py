"""What people get wrong, and what somebody may try who can write to a registry but not to a terminal."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

import edgehone
from edgehone.bundle.schema import text_of
from edgehone.cli.main import main
from edgehone.core.errors import InputError
from edgehone.registry import aliases
from edgehone.registry.names import parse
from edgehone.registry.pull import pull
from edgehone.registry.push import push
from edgehone.registry.session import Registry
from tests.finished import list_again
from tests.registry.bundles import Make, weights

FORGED = "fine\n    9  2026-01-01 00:00:00  boss  demo:production 1 → 2\x1b[31m"


def call(registry: Registry, *words: str) -> int:
    return main(["registry", *words, "--registry", str(registry.blobs.folder)])


@pytest.mark.parametrize(
    "words", [("--why", " "), ("--why", ""), ("--why", FORGED), ("--why", "x", "--by", FORGED)]
)
def test_a_reason_is_one_line(
    registry: Registry, make: Make, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    push(registry, make(weights(1)), name="demo", by="ann")
    assert call(registry, "alias", "demo", "production", "1", "--force", *words) == 2
    assert "is not a line of text" in capsys.readouterr().err
    assert call(registry, "history", "demo", "production") == 0
    assert "Nothing" in capsys.readouterr().out


def test_what_others_wrote_forges_no_lines(
    registry: Registry, make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    """By another program, or in a bundle that was pulled from elsewhere."""
    bundle = make(weights(1))
    manifest = edgehone.read(bundle).manifest
    recipe = {**manifest.recipe, "name": FORGED}
    (bundle / "manifest.json").write_text(text_of(replace(manifest, recipe=recipe).to_json()))
    push(registry, bundle, name="demo", by=FORGED)
    aliases.move(registry, "production", parse("demo:1"), by=FORGED, why=FORGED, force=True)
    for words in (
        ("list",), ("show", "demo"), ("history",), ("at", "2026-01-01", "production"), ("diff", "demo:1", "demo:1"),
    ):  # fmt: skip
        call(registry, *words)
        told = capsys.readouterr().out
        assert "\x1b" not in told and not any(line.startswith("    9  2026") for line in told.splitlines()), (
            words
        )


def test_a_pull_does_not_replace_a_link(registry: Registry, make: Make, tmp_path: Path) -> None:
    push(registry, make(weights(1)), name="demo", by="ann")
    pull(registry, parse("demo"), tmp_path / "v1")
    (tmp_path / "current").symlink_to("v1")
    with pytest.raises(InputError, match="is a symbolic link"):
        pull(registry, parse("demo"), tmp_path / "current")
    assert (tmp_path / "current").is_symlink() and not list(tmp_path.glob(".*.partial"))


@pytest.mark.parametrize("place", ["", "new", "blobs/sha256/new"])
def test_a_pull_into_the_registry_is_refused(registry: Registry, make: Make, place: str) -> None:
    push(registry, make(weights(1)), name="demo", by="ann")
    with pytest.raises(InputError, match=r"in the folder of the registry|other files in it"):
        pull(registry, parse("demo"), registry.blobs.folder / place)
    assert call(registry, "verify") == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_read_only_registry_is_told(
    registry: Registry, make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = make(weights(1))
    push(registry, bundle, name="demo", by="ann")
    place = registry.blobs.folder
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    subprocess.run(["mount", "--bind", str(place), str(place)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(place)], check=True)
        for words in (
            ["push", str(make(weights(2)))], ["alias", "demo", "staging", "1", "--why", "x"], ["gc", "--keep", "1"],
            ["pull", "demo", "--out", str(tmp_path / "out")], ["list"],
        ):  # fmt: skip
            code = call(registry, *words)
            told = capsys.readouterr()
            assert code == 2 and "Traceback" not in told.err, (words, told)
            assert "cannot be opened or written" in told.err or "Read-only" in told.err, told.err
        assert not (tmp_path / "out").exists()
    finally:
        subprocess.run(["umount", str(place)], check=True)
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("names", [("Weights.bin", "weights.bin"), ("mod\u00e8le", "mode\u0300le")])
def test_names_that_some_systems_do_not_tell_apart_are_refused(
    registry: Registry, make: Make, names: tuple[str, str]
) -> None:
    """Pulled to a disk that ignores capitals, one of the files would replace the other."""
    bundle = make(weights(1))
    for name in names:
        (bundle / "artifact" / name).write_bytes(name.encode())
    list_again(bundle)
    with pytest.raises(InputError, match="do not tell apart") as caught:
        push(registry, bundle, name="demo", by="ann")
    assert caught.value.message.isascii() and caught.value.hint
