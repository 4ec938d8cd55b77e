"""A server of a bundle of the null backend that has a chat template."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.finished import Finished, list_again
from tests.serve.server import Server, running

TEMPLATE = (
    "{% if tools %}{{ tools | tojson }}{% endif %}"
    "{% for m in messages %}{% if m.content == 'refused' %}{{ raise_exception('not that') }}{% endif %}"
    "{% if m.content == 'for ever' %}{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    "{% endif %}[{{ m.role }}] {{ m.content }}"
    "{% for call in m.tool_calls or [] %}<tool_call>{{ call.function | tojson }}</tool_call>{% endfor %}{{ '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}[assistant] {% endif %}"
)


def with_template(bundle: Path) -> Path:
    """Give a bundle a chat template, as if its original had one."""
    (bundle / "tokenizer").mkdir(exist_ok=True)
    (bundle / "tokenizer" / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    list_again(bundle)
    return bundle


@pytest.fixture
def chatty(spoiled: Path, finished: Finished) -> Path:
    """A copy of the finished bundle, with a chat template, that a test may change."""
    return with_template(spoiled)


@pytest.fixture(scope="module")
def server(_finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that the tests of a module share. One that needs another state starts its own."""
    bundle = with_template(
        Path(shutil.copytree(_finished.bundle, tmp_path_factory.mktemp("served") / "bundle"))
    )
    with running(bundle, env={"EDGEHONE_HOME": str(_finished.home)}) as found:
        yield found
