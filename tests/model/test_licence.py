from __future__ import annotations

from pathlib import Path

import pytest

from edgehone.model.licence import read_licence


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: apache-2.0\n---\n# X", "apache-2.0"),
        ("---\r\nlicense: mit\r\n---\r\n", "mit"),
        ('---\ntags:\n- a\nlicense: "mit"  # as stated\n---', "mit"),
        ("---\nlicense: other\nlicense_name: own-1\n---", "own-1"),
        ("---\nlicense: other\n---", "other"),
        ("---\nlicense:\n- mit\n- apache-2.0\ntags: [x]\n---", "mit, apache-2.0"),
        ("---\nlicense: [mit, gpl-3.0]\n---", "mit, gpl-3.0"),
        ("---\nlicense:\n---", None),
        ("---\nlicense_link: x\n---", None),
        ("license: mit\n", None),
        ("", None),
    ],
)
def test_the_card(tmp_path: Path, card: str, licence: str | None) -> None:
    (tmp_path / "README.md").write_bytes(card.encode())
    assert read_licence(tmp_path) == licence


@pytest.mark.parametrize(
    ("name", "text", "licence"),
    [
        ("LICENSE", "  Apache License\n  Version 2.0, January 2004", "apache-2.0"),
        ("LICENSE.txt", "MIT License\n\nCopyright", "mit"),
        ("licence", "GNU GENERAL PUBLIC LICENSE\n Version 3, 29 June 2007", "gpl-3.0"),
        ("LICENSE", "SOME COMMUNITY LICENSE AGREEMENT\nmore", "SOME COMMUNITY LICENSE AGREEMENT"),
        ("LICENSE", " \n", None),
        ("NOTES", "MIT License", None),
    ],
)
def test_the_text(tmp_path: Path, name: str, text: str, licence: str | None) -> None:
    (tmp_path / name).write_text(text)
    assert read_licence(tmp_path) == licence


def test_the_model_card_takes_precedence_over_licence_files(tmp_path: Path) -> None:
    (tmp_path / "LICENSE").write_text("MIT License")
    (tmp_path / "README.md").write_text("---\nlicense: bsd-3-clause\n---")
    assert read_licence(tmp_path) == "bsd-3-clause"


def test_nothing(tmp_path: Path) -> None:
    assert read_licence(tmp_path) is None
