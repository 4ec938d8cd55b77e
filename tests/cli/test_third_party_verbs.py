"""Verbs of other distributions: registered by entry point, and harmless to the others if they are broken."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgehone.cli import verbs
from edgehone.core.errors import SetupError

HELLO = '''"""Greet somebody.

More help.
"""

EXAMPLE = "example: edgehone hello you"


def add_arguments(parser):
    parser.add_argument("name")


def run(args):
    print(f"hello {args.name}, json={args.json}")
    return 7
'''
HEAVY = '"""Heavy, 100 % of the time."""\nraise RuntimeError("imported")\n'


def install(site: Path, distribution: str, modules: dict[str, str], points: dict[str, str]) -> None:
    """Write modules to `site`, and the metadata that an installer writes for their entry points."""
    info = site / f"{distribution}-1.0.dist-info"
    info.mkdir(parents=True)
    info.joinpath("METADATA").write_text(f"Name: {distribution}\nVersion: 1.0\n")
    lines = [f"[{verbs.GROUP}]", *(f"{name} = {module}" for name, module in points.items())]
    info.joinpath("entry_points.txt").write_text("\n".join(lines) + "\n")
    for name, text in modules.items():
        path = site / f"{name.replace('.', '/')}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with a distribution that works, and one whose verbs are broken in different ways."""
    site = tmp_path / "site"
    install(site, "greetings", {"greetings": HELLO}, {"hello": "greetings"})
    modules = {"broken.__init__": HEAVY, "broken.verb": HEAVY, "incomplete": '"""Incomplete."""\n'}
    points = {"heavy": "broken.verb", "missing": "nowhere.verb", "part": "incomplete", "show": "greetings"}
    install(site, "broken", modules, points)
    return site


def run(site: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `edgehone WORDS` with the distributions of `site` installed."""
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, "-m", "edgehone.cli.main", *words],
        env={**os.environ, "PYTHONPATH": path, "COLUMNS": "120"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_verb_of_another_distribution_is_listed_and_run(site: Path) -> None:
    done = run(site, "--help")
    assert done.returncode == 0 and done.stderr == ""
    assert "Greet somebody" in done.stdout
    done = run(site, "hello", "you", "--json")
    assert (done.returncode, done.stdout, done.stderr) == (7, "hello you, json=True\n", "")
    assert "More help." in run(site, "hello", "--help").stdout


def test_help_reads_summaries_without_importing_the_modules(site: Path) -> None:
    told = run(site, "--help").stdout
    assert "Heavy, 100 % of the time" in told
    assert "(broken: nowhere.verb of broken is not found)" in told


@pytest.mark.parametrize(
    ("verb", "said"),
    [
        ("heavy", "the verb 'heavy' (broken.verb) cannot be imported: RuntimeError: imported"),
        ("missing", "the verb 'missing' (nowhere.verb) cannot be imported: ModuleNotFoundError"),
        ("part", "the verb 'part' (incomplete) lacks EXAMPLE, add_arguments, run"),
    ],
)
def test_a_broken_verb_is_named_with_its_distribution(site: Path, verb: str, said: str) -> None:
    done = run(site, verb)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.startswith(f"error: {said}")
    assert "remove broken, the package that registers it" in done.stderr


def test_broken_verbs_do_not_affect_the_others(site: Path) -> None:
    done = run(site, "inspect", "heavy")  # an argument that is named as a broken verb
    assert done.returncode == 2 and "no such model folder: heavy" in done.stderr


def test_a_builtin_verb_cannot_be_replaced(site: Path) -> None:
    assert "BUNDLE" in run(site, "show", "--help").stdout


def test_without_registered_verbs_the_error_names_the_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verbs, "GROUP", "edgehone.nothing")
    verbs.registered.cache_clear()
    try:
        with pytest.raises(SetupError, match="no verbs are registered"):
            verbs.registered()
    finally:
        verbs.registered.cache_clear()
