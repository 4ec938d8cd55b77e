"""Each command says why a path cannot be used: a link leads nowhere or in a circle, or a folder may not be read."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgehone.cli.main import main
from edgehone.core.absence import why_absent
from edgehone.core.errors import ModelError
from edgehone.model.inspect import inspect


def dangling(place: Path) -> Path:
    place.symlink_to(place.parent / "moved-away")
    return place


def circular(place: Path) -> Path:
    place.symlink_to(place.parent / "back")
    (place.parent / "back").symlink_to(place)
    return place


def behind(place: Path) -> Path:
    return dangling(place) / "model.onnx"


def too_long(place: Path) -> Path:
    return place / ("a" * 300)


LINKS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "dangling": (dangling, "a link to {0}/moved-away, which does not exist"),
    "circular": (circular, "links that lead in a circle"),
    "behind": (behind, "{0}/one.onnx is a link to {0}/moved-away, which does not exist"),
}


@pytest.mark.parametrize("name", LINKS)
def test_a_link_is_named(tmp_path: Path, name: str) -> None:
    make, words = LINKS[name]
    told = why_absent(make(tmp_path / "one.onnx"), "nothing is there")
    assert words.format(tmp_path) in told and "nothing is there" not in told


def test_what_is_simply_not_there_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (
        tmp_path / "none",
        tmp_path / "none" / "deeper",
        tmp_path / "file" / "inside",
        tmp_path / "file",
    ):
        assert why_absent(path, "nothing is there") == "nothing is there"


def test_what_the_system_says_is_passed_on(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    assert "name too long" in why_absent(too_long(tmp_path / "a"), "nothing is there")
    assert "null byte" in why_absent(Path("a\0b"), "nothing is there")


# The words of commands that take a path; PATH stands for it.
COMMANDS = (
    "inspect PATH", "optimize PATH", "recommend PATH", "show PATH", "report PATH", "verify PATH", "explain PATH",
    "certify PATH", "diagnose PATH", "compare PATH", "run PATH --prompt a", "profile PATH",
    "optimize MODEL --adapter PATH", "optimize MODEL --eval PATH", "recommend MODEL --config PATH",
    "optimize MODEL --task PATH", "choose PATH --weights speed=1", "monitor PATH --out OUT",
    "package PATH --for container --out OUT",
)  # fmt: skip


@pytest.mark.parametrize("words", COMMANDS)
@pytest.mark.parametrize("name", ["dangling", "circular"])
def test_every_command_names_the_link(
    own_home: Path,
    tmp_path: Path,
    demo_model: Path,
    capsys: pytest.CaptureFixture[str],
    words: str,
    name: str,
) -> None:
    make, _ = LINKS[name]
    given = {"PATH": str(make(tmp_path / "one.onnx")), "MODEL": str(demo_model), "OUT": str(tmp_path / "out")}
    assert main([given.get(word, word) for word in words.split()]) == 2
    told = capsys.readouterr().err
    assert "moved-away, which does not exist" in told or "symbolic links" in told or "in a circle" in told, (
        told
    )


def test_a_shard_that_is_a_link_to_nothing(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps({"architectures": ["LlamaForCausalLM"], "model_type": "llama"})
    )
    (tmp_path / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"a": "one.safetensors"}})
    )
    circular(tmp_path / "one.safetensors")
    with pytest.raises(ModelError, match="in a circle"):
        inspect(tmp_path)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Act as a user who may read nothing of root's."""
    os.setegid(65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
@pytest.mark.parametrize(
    "words", ["show PATH", "verify PATH", "inspect PATH", "diagnose PATH", "report PATH"]
)
def test_a_folder_that_may_not_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: str
) -> None:
    (tmp_path / "closed").mkdir(mode=0o700)
    (tmp_path / "closed" / "bundle").mkdir()
    command = words.replace("PATH", str(tmp_path / "closed" / "bundle")).split()
    assert main(command) == 2  # and imports what it needs
    capsys.readouterr()
    with as_nobody():
        assert main(command) == 2
    told = capsys.readouterr().err
    assert "Permission denied" in told and "no such" not in told, told
