"""The backend in docs/backends.md works as it is printed there: installed by its entry point, run by optimize."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import edgehone
from edgehone.backends import registry
from edgehone.backends.null import backend as null
from edgehone.model.inspect import inspect

PAGE = Path(__file__).parents[2] / "docs" / "backends.md"
TOML = """
[gates]
latency_cv = false  # microseconds vary on a machine that runs tests
[workloads.tiny]
prompt_tokens = 16
generated_tokens = 8
"""


def block(language: str) -> str:
    """The page's one block in a language."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text("utf-8"), re.S | re.M)
    return str(found)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The page's package on sys.path, with the metadata that an installer writes from its pyproject.toml."""
    site = tmp_path / "site"
    project = tomllib.loads(block("toml"))["project"]
    info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir(parents=True)
    info.joinpath("METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
    points = project["entry-points"][registry.GROUP]
    lines = [f"[{registry.GROUP}]", *(f"{name} = {target}" for name, target in points.items())]
    info.joinpath("entry_points.txt").write_text("\n".join(lines) + "\n")
    ((name, module),) = points.items()
    site.joinpath(f"{module}.py").write_text(block("python"))
    monkeypatch.syspath_prepend(site)
    registry._registered.cache_clear()
    yield name
    registry._registered.cache_clear()


def test_the_documented_backend_is_registered_and_states_its_support(
    installed: str, null_model: Path
) -> None:
    assert installed in registry.names()
    backend = registry.load(installed)
    assert installed == backend.NAME
    recipes = backend.recipes(inspect(null_model))
    assert [recipe.exact for recipe in recipes] == [True, False]
    refusal = backend.supports(replace(inspect(null_model), model_type="llama"))
    assert not refusal.ok
    assert "llama" in refusal.reasons[0]


@pytest.mark.whole
@pytest.mark.usefixtures("warm_null")
def test_the_documented_backend_passes_its_checks_and_is_chosen(
    installed: str, own_home: Path, null_model: Path, tmp_path: Path
) -> None:
    settings = tmp_path / "edgehone.toml"
    settings.write_text(TOML)
    decision = edgehone.optimize(
        null_model,
        workload="tiny",
        effort="quick",
        backends=[installed],
        out=tmp_path / "bundle",
        config_file=settings,
    )
    found = {candidate.key: candidate for candidate in decision.candidates}
    assert set(found) == {"half/f32", "half/f16"}
    assert all(candidate.status == "ok" for candidate in found.values())
    assert decision.chosen in found
    assert found["half/f32"].figure("kl_mean").value == pytest.approx(0, abs=1e-12)
    assert 0 < (found["half/f16"].figure("kl_mean").value or 0) < 1e-4
    sizes = [found[key].bytes or 0 for key in ("half/f16", "half/f32")]
    assert sizes[0] < 0.6 * sizes[1]
    assert edgehone.verify(edgehone.read(tmp_path / "bundle")) == []
    assert decision.baseline.backend == null.NAME  # the reference runs the original, not the newcomer
