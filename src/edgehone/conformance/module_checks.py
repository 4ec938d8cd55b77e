"""Core side: what a backend's module must have, and how it must answer. No worker, no framework."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edgehone.backends.base import EFFORTS, Needs, Recipe, ReferenceBackend, Step, Support
from edgehone.backends.capabilities import GraphBackend, TokenizerBackend, capability
from edgehone.conformance import capability_checks
from edgehone.conformance.device_checks import devices_have_recipes
from edgehone.conformance.subject import Subject
from edgehone.core.errors import SetupError
from edgehone.execution.environments import environment
from edgehone.optimize.build import SENSITIVITY
from edgehone.worker.conformance.outcome import Check, Failed, demand

_FUNCTIONS = ("supports", "recipes", "steps", "open_session")
_OF_A_REFERENCE = ("original", "reference")
# What the core gives; what is made of the calibration text tells of it as the text does.
_CALIBRATION = {"calibration", SENSITIVITY}
_READS = {"model", *_CALIBRATION}
_DEEPEST = 64
# Prints the top packages that importing a module loads, and that an interpreter has not loaded by itself.
_IMPORT = """
import json, sys
sys.path[:] = json.loads(sys.argv[2])
before = set(sys.modules)
__import__(sys.argv[1])
print(json.dumps(sorted({name.partition(".")[0] for name in set(sys.modules) - before})))
"""


def module_has_the_names(subject: Subject) -> str:
    """NAME is the entry point's, NEEDS is a Needs whose lock exists and whose toolchain is `module:function`,
    REFERENCE is a bool, the functions are functions: the core and the workers call them by these names."""
    backend = subject.backend
    demand(subject.name == backend.NAME, f"NAME is {backend.NAME!r}, the entry point is {subject.name!r}")
    demand(isinstance(backend.REFERENCE, bool), f"REFERENCE is {backend.REFERENCE!r}")
    needs = backend.NEEDS
    demand(isinstance(needs, Needs), f"NEEDS is {needs!r}, not a Needs")
    demand(needs.lock is None or Path(needs.lock).is_file(), f"there is no lock at {needs.lock}")
    demand(needs.toolchain is None or _defined(needs.toolchain), f"there is no {needs.toolchain}")
    wanted = _FUNCTIONS + (_OF_A_REFERENCE if backend.REFERENCE else ())
    missing = [name for name in wanted if not callable(vars(backend).get(name))]
    demand(not missing, f"not functions: {', '.join(missing)}")
    reference = capability(backend, ReferenceBackend) is not None
    demand(reference == backend.REFERENCE, f"REFERENCE is {backend.REFERENCE}, yet it has original()")
    opens = capability(backend, TokenizerBackend) or capability(backend, GraphBackend)
    demand(not reference or opens is not None, "a reference without open_tokenizer() or open_graph()")
    return f"{len(wanted)} functions"


def import_brings_no_framework(subject: Subject) -> str:
    """Importing the module loads the standard library, edgehone and its own package, nothing else: the core
    imports every backend, in an interpreter that has none of their frameworks."""
    words = [sys.executable, "-I", "-c", _IMPORT, subject.target, json.dumps(sys.path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    demand(done.returncode == 0, f"it cannot be imported: {(done.stderr.strip() or '?').splitlines()[-1]}")
    allowed = {*sys.stdlib_module_names, "edgehone", subject.target.partition(".")[0]}
    others = sorted(set(json.loads(done.stdout.splitlines()[-1])) - allowed)
    demand(not others, f"it imports {', '.join(others)}")
    return "the standard library and edgehone only"


def supports_answers_with_reasons(subject: Subject) -> str:
    """supports() gives a Support for every kind of model, the same each time, and says why it refuses; it never
    raises: `edgehone inspect` asks it about whatever the user has."""
    told = []
    for what, model in subject.asked():
        try:
            answer, again = subject.backend.supports(model), subject.backend.supports(model)
        except Exception as error:
            raise Failed(f"{what}: raises {type(error).__name__}: {error}") from error
        demand(isinstance(answer, Support), f"{what}: gives {answer!r}, not a Support")
        demand(isinstance(answer.ok, bool), f"{what}: ok is {answer.ok!r}")
        words = all(isinstance(reason, str) and reason.strip() for reason in answer.reasons)
        demand(isinstance(answer.reasons, tuple) and words, f"{what}: reasons are {answer.reasons!r}")
        demand(answer.ok or bool(answer.reasons), f"{what}: is refused without a reason")
        demand(answer == again, f"{what}: answers {answer}, then {again}")
        demand(not answer.ok or what != "unknown format", f"{what}: is taken, though nobody knows it")
        told.append(answer.ok)
    return f"{len(told)} models asked about, {sum(told)} taken"


def recipes_begin_with_the_exact_one(subject: Subject) -> str:
    """recipes() gives the unquantized conversion first and no second one: the null test judges a backend by it."""
    counts = set()
    for what, _, recipes in subject.proposed():
        if subject.backend.REFERENCE and not recipes:
            continue
        exact = [recipe.name for recipe in recipes if recipe.exact]
        demand(len(exact) == 1, f"{what}: {len(exact)} of {len(recipes)} recipes are exact: {exact}")
        demand(recipes[0].exact, f"{what}: the first is {recipes[0].name}, the exact one {exact[0]}")
        counts.add(len(recipes))
    return f"{' or '.join(map(str, sorted(counts)))} recipes"


def recipes_have_keys_of_their_own(subject: Subject) -> str:
    """Recipes are the backend's own, their names differ and hold no slash, their effort is one of edgehone's: the
    key `backend/name` names a recipe everywhere."""
    for what, _, recipes in subject.proposed():
        for recipe in recipes:
            demand(isinstance(recipe, Recipe), f"{what}: {recipe!r} is not a Recipe")
            demand(recipe.backend == subject.name, f"{what}: {recipe.name} is of {recipe.backend!r}")
            demand(
                bool(recipe.name) and "/" not in recipe.name, f"{what}: a recipe is called {recipe.name!r}"
            )
            demand(recipe.effort in EFFORTS, f"{what}: {recipe.name} has effort {recipe.effort!r}")
        keys = [recipe.key for recipe in recipes]
        double = sorted({key for key in keys if keys.count(key) > 1})
        demand(not double, f"{what}: more than one {', '.join(double)}")
    return "all differ"


def recipes_are_plain_data(subject: Subject) -> str:
    """What is built and how it is run is what JSON can hold, and comes back as it was: it is part of every key and
    of the bundle."""
    for what, _, recipes in subject.proposed():
        for recipe in recipes:
            for name, part in (("build", recipe.build), ("settings", recipe.settings)):
                _plain(dict(part), f"{what}: {name} of {recipe.name}")
    return "build and settings are JSON"


def recipes_are_the_same_each_time(subject: Subject) -> str:
    """The same model gives the same recipes, in the same order: an interrupted run must find its jobs again."""
    for what, model, recipes in subject.proposed():
        again = subject.backend.recipes(model)
        demand(recipes == again, f"{what}: {[r.key for r in recipes]}, then {[r.key for r in again]}")
    return "asked twice"


def steps_lead_to_functions(subject: Subject) -> str:
    """steps() gives a Step without circles; each call is a function of the backend's own package, reads what the
    core can give, and calibrated recipes alone read the calibration: what is read is part of the key."""
    calls = set()
    for what, _, recipes in subject.proposed():
        for recipe in recipes:
            every = list(_walk(subject.backend.steps(recipe), f"{what}: {recipe.name}"))
            for step in every:
                calls.add(step.call)
                demand(_defined(step.call), f"{what}: {recipe.name}: there is no {step.call}")
                own = step.call.partition(".")[0].partition(":")[0] == subject.target.partition(".")[0]
                demand(own, f"{what}: {recipe.name}: {step.call} is of another package")
                unknown = set(step.reads) - _READS
                demand(not unknown, f"{what}: {recipe.name} reads {', '.join(sorted(unknown))}")
                clash = set(step.reads) & set(step.inputs)
                demand(not clash, f"{what}: {recipe.name}: {', '.join(sorted(clash))} is both read and input")
                _plain(dict(step.params), f"{what}: params of {step.call}")
            reads = any(_CALIBRATION & set(step.reads) for step in every)
            demand(
                reads == recipe.calibrated,
                f"{what}: {recipe.name} {'reads' if reads else 'does not read'} the calibration, "
                f"calibrated is {recipe.calibrated}",
            )
    return ", ".join(sorted(call.partition(":")[2] for call in calls))


def steps_are_equal_where_recipes_are(subject: Subject) -> str:
    """The same recipe gives equal steps each time: equal steps are one job, and shared by recipes."""
    for what, _, recipes in subject.proposed():
        for recipe in recipes:
            first, again = subject.backend.steps(recipe), subject.backend.steps(recipe)
            demand(first == again, f"{what}: {recipe.name}: {first}, then {again}")
    return "asked twice"


def environment_can_be_made(subject: Subject) -> str:
    """The lock is installed and the toolchain compiled, or both are there: nothing else runs without."""
    try:
        subject.env = environment.ensure(subject.name, subject.backend.NEEDS, subject.told.append)
    except SetupError as error:
        raise Failed(error.message) from error
    return ", ".join(f"{name} {version}" for name, version in sorted(subject.env.versions.items())) or "ready"


CHECKS: tuple[Check, ...] = (
    module_has_the_names,
    *capability_checks.CHECKS,
    import_brings_no_framework,
    supports_answers_with_reasons,
    recipes_begin_with_the_exact_one,
    recipes_have_keys_of_their_own,
    recipes_are_plain_data,
    recipes_are_the_same_each_time,
    steps_lead_to_functions,
    steps_are_equal_where_recipes_are,
    devices_have_recipes,
    environment_can_be_made,
)


def _plain(data: dict[str, Any], what: str) -> None:
    try:
        back = json.loads(json.dumps(data, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise Failed(f"{what} is not JSON: {error}") from error
    demand(back == data, f"{what} is {data!r}, and comes back from JSON as {back!r}")


def _walk(step: Step, what: str, above: tuple[int, ...] = ()) -> Iterator[Step]:
    """The step and all that it needs; Failed where it needs itself or is no step."""
    demand(isinstance(step, Step), f"{what}: {step!r} is not a Step")
    demand(id(step) not in above and len(above) < _DEEPEST, f"{what}: {step.call} needs itself")
    yield step
    for needed in step.inputs.values():
        yield from _walk(needed, what, (*above, id(step)))


def _defined(call: str) -> bool:
    """Whether `module:function` names something at the top of that module; it is read, not imported."""
    module, _, function = call.partition(":")
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        return False
    if spec is None or spec.origin is None or not function:
        return False
    names: set[str] = set()
    for node in ast.parse(Path(spec.origin).read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return function in names
