"""The ids around a picture: what a bundle carries gives those of the model's own processor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgehone.core.errors import InputError
from edgehone.worker.picture_prompt import PICTURE, picture_prompt
from tests.serve.pictures import TEMPLATE

RunWorker = Callable[..., dict[str, Any]]
AROUND = {"before": [1, 10], "head": [11], "tail": [12], "token": "<image>"}


@pytest.mark.real
def test_the_ids_are_those_of_the_processor(
    make_example: Callable[..., Path], run_worker: RunWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "backends"))
    model = make_example("make_tiny_multimodal.py", "tiny-llava", "--vision", "siglip")
    first = TEMPLATE.replace("{{ m.role.upper() + ': ' }}", "", 1)
    args = {"templates": [TEMPLATE, f"{{{{ bos_token }}}}{TEMPLATE}", first]}
    told = run_worker("pytorch", "pytorchfunctions:picture_prompts", args, {"model": model}, tmp_path / "out")
    for one in told["prompts"]:
        assert one["bundle"] == one["processor"]
        assert one["bundle"][0][:1] == [1] and one["bundle"][0].count(1) == 1 and len(one["bundle"][1]) > 5


@pytest.mark.real
@pytest.mark.long
@pytest.mark.parametrize("family", ["gemma3", "idefics3", "qwen2_5_vl", "qwen2_vl", "smolvlm"])
def test_the_ids_are_those_of_the_processor_of_other_families(
    family: str,
    make_example: Callable[..., Path],
    run_worker: RunWorker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Processors write more than one token for a picture, or cut it into several."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "backends"))
    model = make_example("make_tiny_vision_families.py", family, "--family", family)
    args: dict[str, Any] = {"templates": []}
    told = run_worker("pytorch", "pytorchfunctions:picture_prompts", args, {"model": model}, tmp_path / "out")
    [one] = told["prompts"]
    assert one["bundle"] == one["processor"]
    assert len(one["bundle"][0]) > 5 and len(one["bundle"][1]) > 5


class Bytes:
    """The text side of a model without a chat template."""

    def places_pictures(self, token: str) -> bool:
        return False

    def prompt(self, text: str) -> list[int]:
        return [1, *text.encode()]


def test_without_a_template_one_message_is_put_around_the_picture() -> None:
    text: Any = Bytes()
    message = {"role": "user", "content": [PICTURE, {"type": "text", "text": "ab"}]}
    assert picture_prompt(text, AROUND, [message]) == ([1, 10], [11, 97, 98, 12])
    with pytest.raises(InputError, match="give one message"):
        picture_prompt(text, AROUND, [message, {"role": "user", "content": "b"}])
    with pytest.raises(InputError, match="contains <image>"):
        picture_prompt(
            text, AROUND, [{"role": "user", "content": [PICTURE, {"type": "text", "text": "<image>"}]}]
        )


class Words:
    """The text side of a model whose template writes <begin> for a picture, one id a word."""

    def places_pictures(self, token: str) -> bool:
        return token == "<begin>"

    def rendered(self, messages: Any, tools: Any) -> str:
        return "user <begin> what ?"

    def around(self, rendered: str, token: str) -> tuple[list[str], list[str]]:
        before, _, after = rendered.partition(token)
        return before.split(), after.split()


def test_what_a_processor_writes_for_a_picture_is_put_in_its_place() -> None:
    text: Any = Words()
    template = {**AROUND, "token": "<begin>", "expanded": "<begin> <soft> <end>", "mark": "<soft>"}
    message = {"role": "user", "content": [PICTURE, {"type": "text", "text": "what ?"}]}
    put: Any = picture_prompt(text, template, [message])
    assert put == (["user", "<begin>"], ["<end>", "what", "?"])
    with pytest.raises(InputError, match="contains <soft>"):
        picture_prompt(
            text, template, [{"role": "user", "content": [PICTURE, {"type": "text", "text": "<soft>"}]}]
        )
