"""The printed way out of a run in which nothing passes: a command that parses, and that accepts the candidate."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as some

from edgehone.cli import main
from edgehone.core.errors import InputError
from edgehone.core.figure import Figure
from edgehone.decision import aims
from edgehone.decision.gates import judge
from edgehone.decision.requirements import Gate, Requirements, shipped
from edgehone.optimize.accepting import accepting
from edgehone.optimize.options import OptimizeOptions
from edgehone.optimize.search.clock import seconds_of

FIGURES = sorted(aims.table()["figures"])
NUMBERS = some.one_of(
    some.floats(0, 1),
    some.floats(allow_nan=True, allow_infinity=True),
    some.integers(0, 10**12).map(float),
)


@some.composite
def figures(draw: some.DrawFn) -> Figure:
    value = draw(some.one_of(some.none(), NUMBERS))
    if value is None:
        return Figure.missing("not measured")
    low, high = (draw(some.one_of(some.none(), NUMBERS)) for _ in range(2))
    return Figure(value, low, high, 5, "")


@some.composite
def constraints(draw: some.DrawFn) -> str:
    """A valid constraint, in the words of users."""
    name = draw(some.sampled_from(FIGURES))
    entry = aims.table()["figures"][name]
    least, most = entry.get("least", -1), entry.get("most", 1e12)
    limit = draw(some.floats(least, most))
    return f"{name}{draw(some.sampled_from(['>=', '<=']))}{limit!r}"


def requirements_of(options: OptimizeOptions) -> Requirements:
    """What the real parser makes of the command line."""
    words = options.command()
    args: Any = main._parser(words[1:]).parse_args(words[1:])
    assert args.verb == "optimize"
    assert args.time is None or seconds_of(args.time) == options.time
    return aims.load({}, gates=args.gate, subject_to=args.subject_to, targets=args.target)


@given(
    some.lists(constraints(), max_size=3),
    some.lists(
        some.sampled_from(["speedup=2", "accuracy_kept=0.99", "gain=on", "bytes_max=1000"]), max_size=3
    ),
    some.lists(constraints(), max_size=2),
    some.dictionaries(some.sampled_from([*FIGURES, "gain", "loss"]), figures()),
    some.one_of(some.none(), some.integers(1, 10**6).map(float)),
)
def test_each_printed_command_parses_and_accepts_the_candidate(
    subject_to: list[str],
    gates: list[str],
    targets: list[str],
    found: dict[str, Figure],
    time: float | None,
) -> None:
    options = OptimizeOptions(
        "model", gates=tuple(gates), subject_to=tuple(subject_to), targets=tuple(targets), time=time
    )
    try:
        required = aims.load({}, gates=gates, subject_to=subject_to, targets=targets)
    except InputError:  # limits that contradict each other: a run does not begin
        return
    failed = [verdict for verdict in judge(found, required) if not verdict.ok]
    accepted = accepting(options, failed)
    assert accepted is not None
    assert all(verdict.ok for verdict in judge(found, requirements_of(accepted)))
    assert (accepted.targets, accepted.time) == (options.targets, options.time)


def test_constraints_become_constraints_and_gates_become_gates() -> None:
    options = OptimizeOptions("model", subject_to=("next_token_accuracy>=0.95", "bytes<=60MB", "kl<=0.1"))
    required = aims.load({}, subject_to=options.subject_to)
    figure = {
        "next_token_accuracy": Figure(0.61238, 0.60991, 0.62, 24, "share"),
        "bytes": Figure(12345678.0, n=1, unit="bytes"),
        "speedup": Figure(1.5, 1.4999, 1.51, 5, "×"),
    }
    accepted = accepting(options, [verdict for verdict in judge(figure, required) if not verdict.ok])
    assert accepted is not None
    # The divergence is not known, so its limit is dropped.
    assert accepted.subject_to == ("bytes<=60MB", "next_token_accuracy>=0.609")
    assert accepted.gates == ("accuracy_kept=off", "speedup=1.49", "memory_cut=off", "latency_cv=off")


def test_a_gate_of_the_device_has_no_option() -> None:
    memory = Gate("device_memory", "peak_memory_bytes", "<=", 1e9, "high")
    required = replace(Requirements((), {}, {}), gates=(memory,))
    failed = judge({"peak_memory_bytes": Figure(2e9, 1.9e9, 2.1e9, 0, "bytes", "predicted")}, required)
    assert accepting(OptimizeOptions("model"), failed) is None


def test_every_gate_that_ships_can_be_dropped_by_its_name() -> None:
    gates = [f"{name}=off" for name in shipped()["gates"]]
    assert requirements_of(OptimizeOptions("model", gates=tuple(gates))).gates == ()
