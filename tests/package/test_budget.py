"""Budgets of packages: what does not fit is told with what would."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgehone.bundle.read import read
from edgehone.core.errors import InputError
from edgehone.core.sizes import bytes_of_size, shown
from edgehone.package.budget import check_budget, fillings
from edgehone.package.document import Filling
from edgehone.package.target import Deliverable
from edgehone.package.write import pack
from tests.finished import Finished
from tests.package.boxes import order


def test_a_package_over_its_budget_names_what_fills_it_and_what_would_fit(
    finished: Finished, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as caught:
        pack(finished.bundle, replace(order(tmp_path / "out"), budget=100))
    assert "box.zip takes" in caught.value.message and "artifact/" in caught.value.message
    assert "100 bytes" in caught.value.message
    assert "no candidate that passes every gate is smaller: a budget of" in str(caught.value.hint)
    assert not list(tmp_path.iterdir())
    packed = pack(finished.bundle, replace(order(tmp_path / "out"), budget=10**9))
    assert packed.package.budget == 10**9
    assert {one.path: one.bytes for one in packed.package.fillings} == {
        name: (tmp_path / "out" / name).stat().st_size for name in ("box.zip", "box.tar")
    }


def test_a_smaller_candidate_that_does_not_fit_either_is_named_with_its_price(finished: Finished) -> None:
    decision = read(finished.bundle).decision
    large = max(one.bytes or 0 for one in decision.candidates) + 1000
    found = [Filling("box.zip", large + 50, {"artifact": large}, 10)]
    with pytest.raises(InputError) as caught:
        check_budget(found, [Deliverable("box.zip", "a box")], decision, large)
    smallest = min(one.bytes for one in decision.candidates if one.passes and one.bytes)
    assert f"a budget of {shown(smallest + 50)} would do; its price: " in str(caught.value.hint)


def test_without_a_passing_candidate_a_budget_says_so(spoiled: Path, tmp_path: Path) -> None:
    decision = read(spoiled).decision
    none = replace(decision, candidates=tuple(replace(one, bytes=None) for one in decision.candidates))
    page = [Deliverable("report.html", "a page", limit=10)]
    found = fillings(spoiled, page, None, 10**9)
    with pytest.raises(InputError) as caught:
        check_budget(found, page, none, 5)
    assert "no candidate" in str(caught.value.hint)


@pytest.mark.parametrize("text", ["nonsense", "-1MB", "0", "10 parsecs", "1e3MB", ""])
def test_a_budget_that_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--budget is"):
        bytes_of_size(text, "--budget")


def test_sizes_are_read() -> None:
    sizes = {
        "100MB": 10**8,
        "<50MB": 5 * 10**7,
        "64 MiB": 64 << 20,
        "1.5kb": 1500,
        "7": 7,
        "<= 2GB": 2 * 10**9,
    }
    assert {text: bytes_of_size(text, "") for text in sizes} == sizes
