"""The loop over the stages: what is skipped, blocked, waits, fails and runs again; the record; full disks; two runs."""

from __future__ import annotations

import shutil
import sqlite3
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from edgehone.core.errors import InputError, JobError, SetupError
from edgehone.execution.home import file_lock
from edgehone.model.demo import demo_model
from edgehone.pipeline import plan
from edgehone.pipeline.keys import key_of
from edgehone.pipeline.plan import Asked, work_of
from edgehone.pipeline.record import NAME, Record
from edgehone.pipeline.run import run
from edgehone.pipeline.stages import BY_NAME
from edgehone.pipeline.work import Work
from tests.pipeline.nullpipeline import passed_twice

FILE = """
edge_ai_pipeline:
  stages: [optimization, testing, staging_deployment, production_deployment]
"""


class Trials:
    """Stages that only count how often they were made. `broken` fail, `gone` have lost what they left."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: Counter[str] = Counter()
        self.broken: set[str] = set()
        self.gone: set[str] = set()
        self.input = "1"
        self.folder = folder
        (folder / "pipeline.yaml").write_text(FILE)
        stages = {
            name: replace(
                one,
                inputs=lambda work: {"file": self.input},
                make=self._make,
                departed=lambda work, result: "it is gone" if result.stage in self.gone else None,
            )
            for name, one in BY_NAME.items()
        }
        monkeypatch.setattr(plan, "BY_NAME", stages)

    def _make(self, work: Work) -> tuple[dict[str, str], str]:
        self.made[work.stage] += 1
        if work.stage in self.broken:
            raise JobError(f"{work.stage} is broken", hint="mend it")
        work.found("check", "passed", "well")
        return {"input": self.input}, "done"

    def run(self, *changes: str, only: str | None = None, again: tuple[str, ...] = ()) -> dict[str, str]:
        asked = Asked(self.folder / "pipeline.yaml", out=str(self.folder / "out"), changes=changes)
        results = run(work_of(asked), lambda text: None, only=only, again=again)
        return {one.stage: "unchanged" if one.skipped else one.outcome for one in results}


@pytest.fixture
def trials(tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Trials:
    return Trials(tmp_path, monkeypatch)


ALL = ("optimization", "testing", "staging_deployment", "production_deployment")


def test_what_is_unchanged_is_skipped(trials: Trials) -> None:
    assert trials.run() == dict.fromkeys(ALL, "passed")
    assert trials.run() == dict.fromkeys(ALL, "unchanged")
    assert set(trials.made.values()) == {1}
    assert not passed_twice(trials.folder / "out")


def test_changed_settings_run_a_stage_and_what_follows(trials: Trials) -> None:
    trials.run()
    found = trials.run("staging_deployment.clients=7")
    assert found == dict(zip(ALL, ["unchanged", "unchanged", "passed", "passed"], strict=True))


def test_changed_files_run_everything(trials: Trials) -> None:
    trials.run()
    trials.input = "2"
    assert trials.run() == dict.fromkeys(ALL, "passed")


def test_lost_results_are_made_again(trials: Trials) -> None:
    trials.run()
    trials.gone = {"testing"}
    assert trials.run()["testing"] == "passed" and trials.made["optimization"] == 1


def test_a_stage_that_is_asked_for_runs_again(trials: Trials) -> None:
    trials.run()
    trials.run(again=("testing",))
    assert trials.made["testing"] == 2 and trials.made["optimization"] == 1


@pytest.mark.parametrize("broken", ALL)
def test_a_failure_stops_what_needs_it_and_is_tried_again(trials: Trials, broken: str) -> None:
    trials.broken = {broken}
    at = ALL.index(broken)
    expected = ["passed"] * at + ["failed"] + ["blocked"] * (len(ALL) - at - 1)
    assert list(trials.run().values()) == expected
    assert all(trials.made[name] == 0 for name in ALL[at + 1 :])
    trials.broken = set()
    assert list(trials.run().values()) == ["unchanged"] * at + ["passed"] * (len(ALL) - at)


def test_a_failed_stage_leaves_its_siblings_alone(trials: Trials) -> None:
    (trials.folder / "pipeline.yaml").write_text(
        f"{FILE}edge_server:\n  intel_based:\n    framework: openvino\n"
    )
    trials.broken = {"packaging"}
    found = trials.run()
    assert found["packaging"] == "failed" and found["production_deployment"] == "passed"


def test_an_approval_waits_for_a_person_and_holds_for_these_inputs(trials: Trials) -> None:
    manual = "deployment.approval=manual"
    record = Record(trials.folder / "out")
    assert trials.run(manual)["production_deployment"] == "waiting"
    assert trials.made["production_deployment"] == 0
    key = record.results()["production_deployment"].key
    record.decide("production_deployment", key, "approved", "A. Person", "looks well")
    assert trials.run(manual)["production_deployment"] == "passed"
    assert record.results()["production_deployment"].notes[0].startswith("approved by A. Person")
    trials.input = "2"
    assert trials.run(manual)["production_deployment"] == "waiting"


def test_a_rejected_stage_fails(trials: Trials) -> None:
    manual = "deployment.approval=manual"
    trials.run(manual)
    record = Record(trials.folder / "out")
    key = record.results()["production_deployment"].key
    record.decide("production_deployment", key, "rejected", "A. Person", "too slow")
    assert trials.run(manual)["production_deployment"] == "failed"
    assert record.results()["production_deployment"].said == "rejected by A. Person: too slow"
    assert trials.made["production_deployment"] == 0


def test_a_stage_alone_needs_those_before_it(trials: Trials) -> None:
    with pytest.raises(InputError, match="optimization, which comes before, has not passed") as caught:
        trials.run(only="testing")
    assert caught.value.hint == "edgehone pipeline run FILE --stage optimization"
    assert trials.run(only="optimization") == {"optimization": "passed"}
    assert trials.run(only="testing") == {"optimization": "unchanged", "testing": "passed"}


def test_two_runs_do_not_share_a_folder(trials: Trials) -> None:
    trials.run()
    with (
        file_lock(trials.folder / "out" / "pipeline.lock"),
        pytest.raises(SetupError, match="another run works in"),
    ):
        trials.run()


def test_a_full_disk_is_told_and_loses_nothing(trials: Trials, monkeypatch: pytest.MonkeyPatch) -> None:
    assert trials.run(only="optimization") == {"optimization": "passed"}
    finish = Record.finish

    def full(self: Record, result: object) -> None:
        if getattr(result, "stage", "") == "testing":
            with self._open():
                raise sqlite3.OperationalError("database or disk is full")
        finish(self, result)  # type: ignore[arg-type]

    monkeypatch.setattr(Record, "finish", full)
    with pytest.raises(SetupError, match="disk is full") as caught:
        trials.run()
    assert caught.value.exit_code == 2
    monkeypatch.undo()


def test_a_folder_that_cannot_be_made_is_told(trials: Trials) -> None:
    (trials.folder / "out").write_text("a file")
    with pytest.raises(SetupError, match="cannot be made"):
        trials.run()


def test_a_damaged_record_is_told(trials: Trials) -> None:
    trials.run()
    (trials.folder / "out" / NAME).write_bytes(b"no database at all" * 100)
    for more in ("-wal", "-shm"):
        (trials.folder / "out" / f"{NAME}{more}").unlink(missing_ok=True)
    with pytest.raises(SetupError, match="cannot be used as a database"):
        trials.run()


def test_an_error_of_a_stage_is_its_failure_with_the_next_command(trials: Trials) -> None:
    trials.broken = {"testing"}
    trials.run()
    assert Record(trials.folder / "out").results()["testing"].said == "testing is broken (next: mend it)"


def test_any_file_beside_the_model_has_it_validated_again(tmp_path: Path, own_home: Path) -> None:
    model = shutil.copytree(demo_model(), tmp_path / "model")
    (tmp_path / "pipeline.yaml").write_text(FILE.replace("[", "[model_validation, "))
    work = work_of(Asked(tmp_path / "pipeline.yaml", model=str(model), out=str(tmp_path / "out")))
    stage = BY_NAME["model_validation"]
    before = key_of(stage, work, None)
    (model / "weights.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    assert key_of(stage, work, None) != before
    (model / "weights.pkl").unlink()
    assert key_of(stage, work, None) == before
