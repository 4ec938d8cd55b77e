"""A server of a bundle of the null backend that has a chat template, and bundles of real backends."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import edgehone
from edgehone.backends import registry
from edgehone.backends.base import Step
from edgehone.backends.shared.drafts import DRAFTING
from edgehone.bundle.schema import text_of
from tests.finished import Finished, list_again
from tests.serve.server import Server, running

PLAIN_TEMPLATE = (
    "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}{{ m.content }}{% endfor %}"
)
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


@pytest.fixture
def bundle_of(
    run_worker: Callable[..., dict[str, Any]], demo_model: Path, _finished: Finished, tmp_path: Path, real_home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Path]:  # fmt: skip
    """Return a bundle with a backend's build of the demo model, or another, the exact one or that of a recipe.

    All but the artifact is the finished bundle's.
    """
    monkeypatch.setenv("EDGEHONE_HOME", str(real_home))

    def build(name: str, step: Step, out: Path, model: Path) -> Path:
        inputs = {
            key: build(name, one, out.with_name(f"{out.name}-{key}"), model)
            for key, one in step.inputs.items()
        }
        if "model" in step.reads:
            inputs["model"] = model
        run_worker(name, step.call, dict(step.params), inputs, out)
        return out

    def make(
        name: str, recipe_name: str = "", drafts: Mapping[str, Any] | None = None, model: Path = demo_model
    ) -> Path:
        """`drafts`: the recipe has these settings too; the canaries are answered without drafts."""
        backend = registry.load(name)
        recipes = backend.recipes(edgehone.inspect(model))
        recipe = next(one for one in recipes if (one.name == recipe_name if recipe_name else one.exact))
        settings = {key: one for key, one in recipe.settings.items() if drafts is None or key not in DRAFTING}
        recipe = replace(recipe, settings={**recipe.settings, **(drafts or {})})
        built, bundle = tmp_path / f"built{recipe_name}", tmp_path / f"bundle{recipe_name}"
        build(name, backend.steps(recipe), built, model)
        ids = list(range(3, 67))
        asked = {
            "backend": registry.module_name(name),
            "settings": settings,
            "eos": [2],
            "count": 16,
        }
        # A text that repeats itself has drafts.
        asked["prompts"] = [ids[:8], ids[:24], ids, *([ids[:8] * 4] if drafts is not None else [])]
        answers = run_worker(
            name,
            "edgehone.worker.canaries:answers",
            asked,
            {"artifact": built},
            tmp_path / f"answers{recipe_name}",
        )
        shutil.copytree(_finished.bundle, bundle)
        shutil.rmtree(bundle / "artifact")
        shutil.copytree(built, bundle / "artifact")
        (bundle / "tokenizer").mkdir(exist_ok=True)
        for file in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copyfile(model / file, bundle / "tokenizer" / file)
        (bundle / "tokenizer" / "chat_template.jinja").write_text(PLAIN_TEMPLATE)
        manifest = replace(
            edgehone.read(bundle).manifest, recipe=recipe.to_json(), eos=(2,), tokenizer="original",
            canaries=tuple(answers["canaries"]), versions={},
        )  # fmt: skip
        (bundle / "manifest.json").write_text(text_of(manifest.to_json()))
        list_again(bundle)
        return bundle

    return make
