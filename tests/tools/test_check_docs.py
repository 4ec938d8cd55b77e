"""The check of the documentation: each rule finds its problems, and the repository passes."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import check_docs
import check_imports
import edgehone
from edgehone.core import config
from edgehone.decision import requirements
from edgehone.inputs import workload


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A tiny repository: one module and empty docs."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "src" / "edgehone" / "model").mkdir(parents=True)
    put(tmp_path, "src/edgehone/model/info.py", '"""Info."""\n')
    return tmp_path


def put(root: Path, name: str, text: str) -> None:
    (root / name).write_text(text, "utf-8")


def test_the_repository_passes() -> None:
    assert check_docs.check(check_docs.ROOT) == []


@pytest.mark.parametrize("name", ["README.md", "docs/cli.md"])
def test_each_edgehone_toml_in_the_docs_is_valid(name: str, tmp_path: Path) -> None:
    text = (check_docs.ROOT / name).read_text("utf-8")
    blocks = re.findall(r"^```toml\n(.*?)^```", text, re.S | re.M)
    assert blocks
    for block in blocks:
        put(tmp_path, config.NAME, block)
        settings = config.read(tmp_path / config.NAME)
        tables = tomllib.loads(block)
        # A block with gates or weights changes the requirements; its workloads are valid.
        assert (requirements.load(settings) != requirements.load()) == bool(
            {"gates", "weights"} & tables.keys()
        )
        for workload_name, table in tables.get("workloads", {}).items():
            graph = table.get("task") == "graph"
            assert (
                workload.load(workload_name, settings, "graph" if graph else "language").name == workload_name
            )


def test_outdated_missing_and_unknown_help_is_found_and_updated(root: Path) -> None:
    put(
        root,
        "docs/cli.md",
        "# x\n```text\n$ edgehone run --help\nold\n```\n```text\n$ edgehone fly --help\nhm\n```\n",
    )
    problems = list(check_docs.check_help(root))
    assert "docs/cli.md: no help of 'edgehone'" in problems
    assert any("'edgehone run' is out of date" in problem for problem in problems)
    assert "docs/cli.md: there is no 'edgehone fly'" in problems
    put(root, "docs/cli.md", "before\n```text\n$ edgehone run --help\nold\n```\nafter\n")
    check_docs.write_help(root)
    written = (root / "docs" / "cli.md").read_text("utf-8")
    assert written.startswith("before\n") and written.endswith("\n```\nafter\n")
    assert "usage: edgehone run" in written
    assert not any("edgehone run" in problem for problem in check_docs.check_help(root))


def test_broken_links_and_paths_are_found(root: Path) -> None:
    put(
        root,
        "docs/a.md",
        "[b](b.md) [c](../README.md#top) [x](#here) [w](https://example.org/no.md) `docs/a.md`",
    )
    put(
        root,
        "README.md",
        "`src/edgehone/model/` `src/edgehone/nope.py` `docs/*.md` `tests/*.md` `run src/x`\n",
    )
    put(root, "docs/c.md", "```sh\ncat [b](gone.md) `docs/gone.md`\n```\n`../README.md` `../src/gone`\n")
    assert sorted(check_docs.check_paths(root)) == [
        "README.md: there is no src/edgehone/nope.py",
        "README.md: there is no tests/*.md",
        "docs/a.md: there is no b.md",
        "docs/c.md: there is no ../src/gone",
    ]


def test_public_names_must_be_in_the_docs_as_code(root: Path) -> None:
    names = edgehone.__all__
    put(root, "README.md", " ".join(f"`{name}`" for name in names if name not in ("read", "detect")))
    put(root, "docs/a.md", "you read and detect; `edgehone.detect()`")
    assert list(check_docs.check_public_names(root)) == ["edgehone.read is in neither README.md nor docs/"]


def test_folders_and_the_order_of_imports_must_be_in_the_architecture(root: Path) -> None:
    put(root, "docs/architecture.md", "nothing")
    assert len(list(check_docs.check_architecture(root))) == 2
    order = check_imports.ORDER.replace("decision →", "decision →\n ")
    put(root, "docs/architecture.md", f"model/ holds\n\n    {order}\n")
    assert list(check_docs.check_architecture(root)) == []


def test_missing_docstrings_of_public_definitions_are_found(root: Path) -> None:
    text = "class A:\n    def b(self): ...\n    def _c(self): ...\ndef _d(): ...\nclass _E:\n    def f(self): ...\n"
    put(root, "src/edgehone/model/info.py", text)
    found = [problem.split(": ")[1].split()[0] for problem in check_docs.check_docstrings(root)]
    assert found == ["the", "A", "b"]


def test_problems_are_printed_and_make_it_fail(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check_docs, "check", lambda root: ["docs/a.md: there is no b.md"])
    assert check_docs.main([]) == 1
    assert capsys.readouterr().out == "docs/a.md: there is no b.md\n"
    monkeypatch.setattr(check_docs, "check", lambda root: [])
    assert check_docs.main([]) == 0
