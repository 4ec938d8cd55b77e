"""The workflows that `edgehone pipeline init --ci` writes, judged by others' linters, and GitLab's run for real."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgehone.cli import main
from edgehone.core.errors import InputError
from edgehone.pipeline.ci import workflow
from edgehone.pipeline.read import read_document, stages_of
from edgehone.pipeline.record import Record
from tests.pipeline.nullpipeline import FILES, STAGES, Place, whole

_CI = bool(os.environ.get("CI"))
_BIN = Path(sys.executable).parent
needs_gitlab = pytest.mark.skipif(
    not (shutil.which("npm") and shutil.which("rsync")) and not _CI,
    reason="npm or rsync is not installed: tools/system_packages.sh",
)


def judged(*words: str, cwd: Path) -> str:
    """Return what a linter says, which must end with 0."""
    done = subprocess.run(
        [str(_BIN / words[0]), *words[1:]], cwd=cwd, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty repository, as the current folder."""
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "my-model").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def init(*words: str) -> int:
    return main.main(["pipeline", "init", *words])


def test_linters_accept_the_workflow_of_github(place: Path) -> None:
    assert init("pipeline.yaml", "--model", "my-model", "--ci", "github") == 0
    file = ".github/workflows/edgehone.yml"
    judged("actionlint", file, cwd=place)
    judged("check-jsonschema", "--builtin-schema", "vendor.github-workflows", file, cwd=place)
    assert "No findings" in judged("zizmor", "--offline", "--persona", "regular", file, cwd=place)


def test_the_linters_would_refuse_what_is_wrong(place: Path) -> None:
    init("pipeline.yaml", "--model", "my-model", "--ci", "github")
    file = place / ".github/workflows/edgehone.yml"
    text = file.read_text()
    file.write_text(text.replace("needs: model_validation", "needs: no_such_stage"))
    with pytest.raises(AssertionError, match="no_such_stage"):
        judged("actionlint", str(file), cwd=place)
    file.write_text(
        text.replace("actions/checkout@11bd71901bbe5b1630ceea73d27597364c9af683", "actions/checkout@v4")
    )
    with pytest.raises(AssertionError, match="unpinned"):
        judged("zizmor", "--offline", str(file), cwd=place)


def test_gitlabs_schema_accepts_the_pipeline(place: Path) -> None:
    assert init("pipeline.yaml", "--model", "my-model", "--ci", "gitlab") == 0
    judged("check-jsonschema", "--builtin-schema", "vendor.gitlab-ci", ".gitlab-ci.yml", cwd=place)


def test_a_jenkinsfile_has_a_stage_for_each(place: Path) -> None:
    assert init("pipeline.yaml", "--model", "my-model", "--ci", "jenkins") == 0
    text = (place / "Jenkinsfile").read_text()
    assert [f"stage('{name}')" in text for name in STAGES] == [True] * len(STAGES)
    assert text.count("{") == text.count("}") and "@" not in text


def test_the_file_of_init_is_valid_by_its_own_schema(place: Path) -> None:
    assert init("pipeline.yaml", "--model", "my model's") == 0
    document = read_document(place / "pipeline.yaml")
    assert stages_of(document) == STAGES and document.edge_ai_pipeline.model.path == "my model's"
    first = (place / "pipeline.yaml").read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=./pipeline.schema.json"
    judged("check-jsonschema", "--schemafile", "pipeline.schema.json", "pipeline.yaml", cwd=place)


def test_a_file_that_exists_is_kept_and_its_stages_are_run(place: Path) -> None:
    shutil.copy(FILES / "edge_ai_pipeline.yaml", place / "edge.yaml")
    before = (place / "edge.yaml").read_text()
    assert init("edge.yaml", "--ci", "gitlab") == 0
    assert (place / "edge.yaml").read_text() == before
    (place / "Jenkinsfile").write_text("mine")
    assert init("edge.yaml", "--ci", "jenkins") == 2
    assert (place / "Jenkinsfile").read_text() == "mine"
    (place / "pipeline.schema.json").write_text("{}")  # of an older version
    assert init("edge.yaml") == 0 and len((place / "pipeline.schema.json").read_text()) > 100


def test_init_needs_a_model(place: Path) -> None:
    assert init("pipeline.yaml") == 2 and not (place / "pipeline.yaml").exists()


@pytest.mark.parametrize("name", ["a b.yaml", "$(x).yaml", "a'b.yaml", "${{ x }}.yaml", "a\nb"])
def test_a_name_that_a_shell_would_read_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="cannot stand in a workflow"):
        workflow("github", name, "run", STAGES)


@pytest.fixture(scope="module")
def gitlab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program gitlab-ci-local."""
    folder = tmp_path_factory.mktemp("npm")
    words = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder)]
    subprocess.run([*words, "gitlab-ci-local@4.61.0"], check=True, timeout=300)
    return folder / "node_modules" / ".bin" / "gitlab-ci-local"


def run_gitlab(program: Path, place: Place, timeout: float) -> subprocess.CompletedProcess[str]:
    """Run .gitlab-ci.yml in a repository with all files of a place, as they are now."""
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
    if not (place.path / ".git").exists():
        (place.path / ".gitignore").write_text("home/\nregistry/\n*-run/\n.gitlab-ci-local/\n")
        subprocess.run([*git, "init", "-q"], cwd=place.path, check=True)
        remote = ["remote", "add", "origin", "git@example.org:me/model.git"]
        subprocess.run([*git, *remote], cwd=place.path, check=True)
    for words in (["add", "-A"], ["commit", "-q", "--allow-empty", "-m", "all"]):
        subprocess.run([*git, *words], cwd=place.path, check=True)
    path = f"{_BIN}{os.pathsep}{place.environment['PATH']}"
    return subprocess.run(
        [str(program), "--force-shell-executor"],
        cwd=place.path,
        env={**place.environment, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )


@needs_gitlab
@pytest.mark.whole
@pytest.mark.long
def test_gitlab_runs_the_six_stages(gitlab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = whole(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert init("whole.yaml", "--ci", "gitlab") == 0
    done = run_gitlab(gitlab, place, 580)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    found = Record(tmp_path / "whole-run").results()
    assert {name: one.outcome for name, one in found.items()} == dict.fromkeys(STAGES, "passed")
    runs = [(stage, happened) for _, _, stage, happened, _ in Record(tmp_path / "whole-run").events()]
    assert [stage for stage, happened in runs if happened == "passed"] == list(STAGES)
