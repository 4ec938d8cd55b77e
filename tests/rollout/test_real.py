"""Releases between real engines (benchmarks/rolling/real.py): what is said of them, and one that cannot be run."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.rolling.real import Case, Champion, End, _ends, summary, table

GOOD, BAD = Case("null, good", True, {}), Case("null, leaking", False, {})
ENDS = (
    End(GOOD, "promoted", "", 0.25, 90.0),
    End(GOOD, "rolled back", "latency", 0.05, 40.0),
    End(BAD, "rolled back", "leak", 0.0, 30.0),
    End(BAD, "promoted", "", 0.5, 100.0),
)


def test_the_table_counts_what_ended_rightly() -> None:
    assert table(ENDS).splitlines()[2:] == [
        "| null, good | 1 of 2 | 15.0 % (25.0 %) | 65 s |",
        "| null, leaking | 1 of 2 | 25.0 % (50.0 %) | 65 s |",
    ]


def test_the_goals_are_told_apart() -> None:
    assert summary(ENDS) == (
        "Of 2 bad releases 1 were rolled back, and answered 25.0 % of the requests, in the median; "
        "of 2 good ones 1 were."
    )


@pytest.mark.whole
def test_a_server_that_does_not_start_is_named_and_the_next_release_is_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing = Champion(tmp_path / "no-such-bundle", "The", tmp_path / "home")
    ends = _ends(tmp_path / "work", nothing, (GOOD, BAD), 2)
    assert [one.status for one in ends] == ["not run", "not run"]
    assert all("exit code 2" in one.reason and "no-such-bundle" in one.reason for one in ends), ends
    assert capsys.readouterr().out.count("not run") == 2
