"""Bundles and artifacts side by side, on the null backend."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import edgehone
from edgehone.backends.base import Recipe
from edgehone.backends.null import backend
from edgehone.bundle.schema import digest_of, text_of
from edgehone.cli import main
from edgehone.core.errors import InputError
from edgehone.decision.comparison import Comparison
from edgehone.inputs.texts import shipped
from edgehone.optimize.compare import Entry, compare
from edgehone.report.comparison import comparison
from tests.rates import know_rates
from tests.realruns import start_warm
from tests.tiny import SHALLOW
from tests.warmworkers.workers import Servers

# One process makes the bundles for all of them.
pytestmark = pytest.mark.xdist_group("compare")
TOML = f"""{SHALLOW}
[gates]
latency_cv = false
speedup = false
memory_cut = false
[workloads.tiny]
prompt_tokens = 16
generated_tokens = 8
"""


@pytest.fixture(scope="module")
def ctx(tmp_path_factory: pytest.TempPathFactory, warm_servers: Servers) -> Path:
    """A folder with two bundles of one model, `fine` and `coarse`, and one that names another, `other`."""
    place = tmp_path_factory.mktemp("compare")
    (place / "tiny.toml").write_text(TOML)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEHONE_HOME", str(know_rates(place / "home")))
        start_warm(warm_servers, patch)
        for name, text in (("model", shipped("calibration")), ("stranger", shipped("evaluation"))):
            backend.make_model(place / name, text.read_text("utf-8"))
        for out, gates in (("fine", []), ("coarse", ["bytes_max=40000", "accuracy_kept=0.5"])):
            edgehone.optimize(
                place / "model",
                workload="tiny",
                effort="quick",
                backends=["null"],
                gates=gates,
                out=place / out,
                config_file=place / "tiny.toml",
            )
    manifest = shutil.copytree(place / "fine", place / "other") / "manifest.json"
    told = json.loads(manifest.read_text())
    told["model"]["digest"] = "0" * 64
    told["digest"] = digest_of(told)
    manifest.write_text(text_of(told))
    assert edgehone.read(place / "coarse").manifest.recipe["name"] == "q4"
    return place


@pytest.fixture(autouse=True)
def _home(ctx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEHONE_HOME", str(ctx / "home"))
    monkeypatch.chdir(ctx)


def together(*paths: str | Entry, **more: object) -> Comparison:
    given = {"workload": "tiny", "effort": "quick", "config_file": "tiny.toml", **more}
    return compare(paths, **given)  # type: ignore[arg-type]


def test_two_bundles_and_an_artifact_under_one_protocol(ctx: Path) -> None:
    shutil.copytree(ctx / "coarse" / "artifact", ctx / "loose")
    # One that stands for itself, of whatever backend.
    own = Entry(Recipe("null", "own"), ctx / "fine" / "artifact", "own")
    found = together("fine", "coarse", "loose", own, backend="null", settings={"pace": 16})
    by_name = {one.recipe["name"]: one for one in found.candidates}
    assert set(by_name) == {"fine", "coarse", "loose", "own"}
    assert by_name["own"].figure("kl_mean") == by_name["fine"].figure("kl_mean")
    assert all(one.status == "ok" for one in found.candidates)
    told = edgehone.read(ctx / "fine").decision
    chosen = told.candidate(told.chosen or "")
    # The same windows as optimize's, so the same figures.
    assert by_name["fine"].figure("kl_mean") == chosen.figure("kl_mean")
    assert by_name["fine"].bytes == chosen.bytes
    assert (by_name["coarse"].figure("kl_mean").value or 0) > 10 * (chosen.figure("kl_mean").value or 1)
    assert by_name["loose"].figure("kl_mean") == by_name["coarse"].figure("kl_mean")
    # Its own settings make it slower than the bundle of the same table.
    slow, fast = (by_name[n].figure("workload_latency_ms").value or 0 for n in ("loose", "coarse"))
    assert slow > 2 * fast > 0
    assert (by_name["coarse"].figure("speedup").value or 0) > 4
    assert found.baseline.key == "null/original"
    assert json.loads(json.dumps(found.to_json()))["candidates"][0]["facts"]["what"] == "null/q8"


def test_every_comparison_is_measured_anew(ctx: Path) -> None:
    def rounds() -> set[int]:
        """The inodes of the results of all timed rounds: a job that is run again has another result."""
        jobs = (ctx / "home").glob("store/jobs/*/job.json")
        return {
            (job.parent / "result.json").stat().st_ino
            for job in jobs
            if json.loads(job.read_text())["call"] == "edgehone.worker.speed:time_requests"
        }

    first, before = together("fine"), rounds()
    again = together("fine")
    assert len(rounds() - before) >= 3
    assert first.candidates[0].figure("kl_mean") == again.candidates[0].figure("kl_mean")


def test_bundles_of_different_originals_are_refused(ctx: Path) -> None:
    with pytest.raises(InputError, match="fine and other have different originals"):
        together("fine", "other")
    with pytest.raises(InputError, match="fine was optimized from another original than stranger") as caught:
        together("fine", model="stranger")
    assert caught.value.hint and "--model" in caught.value.hint


def test_an_original_that_moved_is_asked_for(ctx: Path) -> None:
    (ctx / "model").rename(ctx / "moved")
    try:
        with pytest.raises(InputError, match="the original is not at its recorded path") as caught:
            together("fine", "coarse")
        assert caught.value.hint == "give it with --model MODEL"
        assert together("fine", model="moved").candidates[0].status == "ok"
    finally:
        (ctx / "moved").rename(ctx / "model")


def test_what_cannot_be_compared_is_refused(ctx: Path) -> None:
    (ctx / "empty").mkdir(exist_ok=True)
    (ctx / "notes.txt").write_text("no artifact")
    for paths, more, what in (
        (("lost",), {}, "no such bundle or artifact: lost"),
        (("fine", "./fine"), {}, "the same path is given twice"),
        (("notes.txt",), {}, "notes.txt is not a bundle"),
        (("notes.txt",), {"backend": "nul"}, "did you mean 'null'"),
        (("notes.txt",), {"backend": "null"}, "no bundle names the original"),
        (("fine",), {"workload": "tinny"}, "unknown workload"),
    ):
        with pytest.raises(InputError, match=what):
            together(*paths, **more)


def test_a_changed_bundle_is_refused(ctx: Path, tmp_path: Path) -> None:
    spoiled = shutil.copytree(ctx / "fine", tmp_path / "spoiled")
    (spoiled / "reproduce.sh").write_text("true\n")
    with pytest.raises(InputError, match="was changed"):
        together(str(spoiled))


def test_an_artifact_that_does_not_open_is_told_and_the_others_go_on(ctx: Path) -> None:
    (ctx / "notes.txt").write_text("no artifact")
    (ctx / "empty").mkdir(exist_ok=True)
    found = together("fine", "notes.txt", "empty", backend="null")
    assert [one.status for one in found.candidates] == ["ok", "failed", "failed"]
    text = comparison(found)
    assert (
        "Not compared:\n  notes.txt: failed: " in text and "  empty: failed: empty is an empty folder" in text
    )


def test_the_command_line(ctx: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = "compare fine coarse --workload tiny --effort quick --config tiny.toml"
    assert main.main(words.split()) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line for line in lines if line.startswith(("fine", "coarse", "the original"))}
    assert "null/q8" in rows["fine"] and "null/q4" in rows["coarse"]
    assert "%*" in rows["fine"] and "*" not in rows["the"]
    assert any("≈ tied with it" in line for line in lines)
    assert main.main(["compare", "fine", "--settings", "pace"]) == 2
    assert "is not KEY=VALUE" in capsys.readouterr().err
