"""The check-list is filled from checks and by persons, and the approval follows."""

from __future__ import annotations

import pytest

from edgehone.attestation.certificate import CheckResult, Outcome
from edgehone.certify.approval import approve
from edgehone.certify.checklist import Answer, earlier, filled, items, read_answers
from edgehone.certify.checks import CHECKS
from edgehone.core.errors import InputError

WATCH = {"baselines": {"p50": {}}, "alerts": [{}]}
PERSONS = {
    name: Answer("runbook 12", "A. Person") for name, one in items().items() if not (one.checks or one.facts)
}


def results(**outcomes: Outcome) -> list[CheckResult]:
    """All checks of a language model, passed but for some. The vulnerabilities are not required."""
    return [
        CheckResult(
            name=one.name,
            category=one.category,
            outcome=outcomes.get(one.name, "passed"),
            reason="so it is",
            required=one.name != "vulnerabilities",
        )
        for one in CHECKS
        if "language" in one.kinds
    ]


def test_there_are_19_items_whose_checks_exist() -> None:
    assert len(items()) == 19
    phases = [one.phase for one in items().values()]
    assert [phases.count(one) for one in ("before", "during", "after")] == [7, 6, 6]
    assert {name for one in items().values() for name in one.checks} <= {one.name for one in CHECKS}


def test_facts_fill_it_and_the_rest_stays_open() -> None:
    found = {one.name: one for one in filled(results(), WATCH, {})}
    assert {name for name, one in found.items() if one.done} == {
        "accuracy", "targets", "vulnerabilities", "stress", "failures", "baselines", "error_thresholds"
    }  # fmt: skip
    assert found["rollback"].done is None and found["rollback"].by == ""


def test_with_all_answers_it_is_approved() -> None:
    checks = results()
    assert approve(checks, filled(checks, WATCH, PERSONS)) == ("yes", ())


@pytest.mark.parametrize("outcome", ["undecided", "skipped"])
@pytest.mark.parametrize("name", ["accuracy", "network", "vulnerabilities"])
def test_what_is_not_shown_is_a_condition_and_no_pass(name: str, outcome: Outcome) -> None:
    checks = results(**{name: outcome})
    approval, conditions = approve(checks, filled(checks, WATCH, PERSONS))
    assert approval == "conditional" and any(name in one for one in conditions)


def test_a_required_check_that_failed_forbids_it() -> None:
    checks = results(unicode="failed")
    approval, conditions = approve(checks, filled(checks, WATCH, PERSONS))
    assert approval == "no" and conditions == ("unicode failed: so it is",)


def test_another_check_that_failed_is_a_condition() -> None:
    checks = results(vulnerabilities="failed")
    assert approve(checks, filled(checks, WATCH, PERSONS))[0] == "conditional"


def test_open_items_before_the_deployment_are_conditions() -> None:
    checks = results()
    answers = {name: one for name, one in PERSONS.items() if name not in ("rollback", "drift")}
    approval, conditions = approve(checks, filled(checks, WATCH, answers))
    assert approval == "conditional" and len(conditions) == 1 and "rollback" in conditions[0]


def test_nobody_can_answer_away_what_failed() -> None:
    checks = results(recovery="failed")
    found = {one.name: one for one in filled(checks, WATCH, {"failures": Answer("all is well", "A. Person")})}
    assert found["failures"].done is False and found["failures"].by == "edgehone"


def test_a_person_can_say_no() -> None:
    found = {one.name: one for one in filled(results(), WATCH, {"rollback": Answer("no, never tried", "A")})}
    assert found["rollback"].done is False and found["rollback"].by == "A"
    assert Answer("nobody complained", "A").done


def test_answers_are_remembered() -> None:
    found = filled(results(), WATCH, PERSONS)
    assert earlier(found) == PERSONS


@pytest.mark.parametrize(
    ("words", "by", "said"),
    [
        (["rollback=done"], None, "--by NAME"),
        (["rollback=done"], " ", "--by NAME"),
        (["rolback=done"], "A", "no item 'rolback'"),
        (["rollback"], "A", "not ITEM=TEXT"),
        (["rollback="], "A", "not ITEM=TEXT"),
        (["rollback=done"], "edgehone", "only a person"),
        ([], "A", "without an answer"),
    ],
)
def test_wrong_answers_are_refused(words: list[str], by: str | None, said: str) -> None:
    with pytest.raises(InputError) as raised:
        read_answers(words, by)
    assert said in f"{raised.value.message} {raised.value.hint}"
