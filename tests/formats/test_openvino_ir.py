"""The strict reading of an OpenVINO IR."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgehone.core.errors import ModelError
from edgehone.formats.openvino_ir import problems

SOUND = """<?xml version="1.0"?><net name="m" version="11"><layers>
<layer id="0" name="x" type="Parameter" version="opset1"><data shape="1" element_type="f32"/></layer>
<layer id="1" name="w" type="Const" version="opset1"><data element_type="f32" offset="4" size="12"/></layer>
</layers></net>"""


def write(folder: Path, text: str) -> Path:
    (folder / "model.bin").write_bytes(bytes(16))
    (folder / "model.xml").write_text(text)
    return folder / "model.xml"


def test_a_sound_file_has_no_problem(tmp_path: Path) -> None:
    assert problems(write(tmp_path, SOUND)) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('offset="4"', 'offset="5"', "lies at 5 to 17; model.bin has 16 bytes"),
        ('offset="4"', 'offset="-4"', "lies at -4"),
        ('size="12"', 'size="18446744073709551615"', "model.bin has 16 bytes"),
        ('offset="4"', 'offset="four"', "offset 'four'"),
        (
            'type="Const" version="opset1"',
            'type="Evil" version="extension"',
            "operator Evil of version 'extension'",
        ),
    ],
)
def test_what_is_outside_is_found(tmp_path: Path, old: str, new: str, said: str) -> None:
    (found,) = problems(write(tmp_path, SOUND.replace(old, new)))
    assert said in found


def test_operators_that_are_allowed_are_no_problem(tmp_path: Path) -> None:
    path = write(tmp_path, SOUND.replace('type="Const" version="opset1"', 'type="Own" version="extension"'))
    assert problems(path, {"extension"}) == []


def test_weights_that_are_missing_are_found(tmp_path: Path) -> None:
    path = write(tmp_path, SOUND)
    (tmp_path / "model.bin").unlink()
    assert "has 0 bytes" in problems(path)[0]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no XML",
        SOUND[:200],
        "<net/>",
        '<!DOCTYPE net [<!ENTITY a SYSTEM "file:///etc/passwd">]><net>&a;</net>',
        '<!DOCTYPE net [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><net>&b;</net>',
    ],
)
def test_what_is_no_ir_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ModelError):
        problems(write(tmp_path, text))
