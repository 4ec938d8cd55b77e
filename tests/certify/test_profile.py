"""The profile is read strictly."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgehone.certify.checks import CHECKS
from edgehone.certify.profile import read_profile
from edgehone.core.errors import InputError


def test_the_shipped_profile_has_a_rule_for_each_check_and_no_other() -> None:
    assert set(read_profile().checks) == {one.name for one in CHECKS}


def test_a_users_file_is_laid_over_it(tmp_path: Path) -> None:
    path = tmp_path / "kitchen.toml"
    path.write_text(
        "[checks.accuracy]\nthreshold = 0.97\n[targets]\nlatency_p99_ms = 120\n[measure]\nrounds = 9\n"
    )
    found, shipped = read_profile(path), read_profile()
    assert found.name == "kitchen"
    assert found.checks["accuracy"].limit == 0.97 and found.checks["accuracy"].required
    assert found.checks["typos"] == shipped.checks["typos"]
    assert found.targets.latency_p99_ms == 120 and found.measure.rounds == 9
    assert found.with_soak(5).measure.soak_seconds == 5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[check.accuracy]\nthreshold = 1", "unknown table 'check'"),
        ("[checks.acuracy]\nthreshold = 1", "there is no check 'acuracy'"),
        ("[checks.accuracy]\nthresh = 1", "unknown keys: 'thresh'"),
        ("[checks.accuracy]\nthreshold = 'high'", "threshold is 'high'"),
        ("[checks.accuracy]\nthreshold = -1", "threshold is -1"),
        ("[checks.accuracy]\nthreshold = nan", "threshold is nan"),
        ("[checks.pickles]\nthreshold = 1", "counts problems"),
        ("[checks]\naccuracy = 1", "checks.accuracy is 1"),
        ("[targets]\nlatency_p99 = 1", "unknown keys: 'latency_p99'"),
        ("[targets]\nlatency_p99_ms = 0", "latency_p99_ms is 0"),
        ("[measure]\nsoak_seconds = true", "soak_seconds is True"),
        ("[measure]\nwindows = 1", "windows is 1"),
        ("targets = 3", "targets is 3"),
        ("name = 3", "name is 3"),
        ("[", "cannot be read"),
        ("\x00", "cannot be read"),
    ],
)
def test_a_wrong_profile_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "profile.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        read_profile(path)


def test_a_missing_profile_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such profile"):
        read_profile(tmp_path / "none.toml")
