"""Core side: the names of a backend's module and the results of its functions. No worker and no framework is used."""

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
from edgehone.conformance.device_checks import device_recipes_are_valid
from edgehone.conformance.subject import Subject
from edgehone.core.errors import SetupError
from edgehone.execution.environments import environment
from edgehone.optimize.build import SENSITIVITY
from edgehone.worker.conformance.outcome import Check, Failed, demand

_FUNCTIONS = ("supports", "recipes", "steps", "open_session")
_REFERENCE_FUNCTIONS = ("original", "reference")
# The inputs that the core provides. The sensitivity depends on the calibration text, so it counts as calibration.
_CALIBRATION = {"calibration", SENSITIVITY}
_READS = {"model", *_CALIBRATION}
_MAX_DEPTH = 64
# Prints the top-level packages that importing a module loads and that the interpreter has not loaded at start.
_IMPORT = """
import json, sys
sys.path[:] = json.loads(sys.argv[2])
before = set(sys.modules)
__import__(sys.argv[1])
print(json.dumps(sorted({name.partition(".")[0] for name in set(sys.modules) - before})))
"""


def module_defines_required_names(subject: Subject) -> str:
    """NAME equals the entry point's name, NEEDS is a Needs whose lock exists and whose toolchain is `module:function`,
    REFERENCE is a bool, and the required functions are callable: core and workers use them by these names."""
    backend = subject.backend
    demand(subject.name == backend.NAME, f"NAME is {backend.NAME!r}, the entry point is {subject.name!r}")
    demand(isinstance(backend.REFERENCE, bool), f"REFERENCE is {backend.REFERENCE!r}")
    needs = backend.NEEDS
    demand(isinstance(needs, Needs), f"NEEDS is {needs!r}, not a Needs")
    demand(needs.lock is None or Path(needs.lock).is_file(), f"there is no lock at {needs.lock}")
    demand(needs.toolchain is None or _defined(needs.toolchain), f"there is no {needs.toolchain}")
    wanted = _FUNCTIONS + (_REFERENCE_FUNCTIONS if backend.REFERENCE else ())
    missing = [name for name in wanted if not callable(vars(backend).get(name))]
    demand(not missing, f"not functions: {', '.join(missing)}")
    reference = capability(backend, ReferenceBackend) is not None
    demand(
        reference == backend.REFERENCE,
        f"REFERENCE is {backend.REFERENCE}, although it has original() and reference()",
    )
    opens = capability(backend, TokenizerBackend) or capability(backend, GraphBackend)
    demand(not reference or opens is not None, "a reference backend needs open_tokenizer() or open_graph()")
    return f"{len(wanted)} functions"


def import_loads_no_framework(subject: Subject) -> str:
    """Importing the module loads only the standard library, edgehone and the module's own package: the core imports
    every backend in an interpreter without the frameworks."""
    words = [sys.executable, "-I", "-c", _IMPORT, subject.target, json.dumps(sys.path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    demand(done.returncode == 0, f"it cannot be imported: {(done.stderr.strip() or '?').splitlines()[-1]}")
    allowed = {*sys.stdlib_module_names, "edgehone", subject.target.partition(".")[0]}
    others = sorted(set(json.loads(done.stdout.splitlines()[-1])) - allowed)
    demand(not others, f"it imports {', '.join(others)}")
    return "only the standard library and edgehone"


def supports_gives_reasons(subject: Subject) -> str:
    """supports() returns a Support for every kind of model, the same each time, with reasons for each refusal, and
    never raises: `edgehone inspect` calls it with any model that a user may have."""
    supported = []
    for what, model in subject.models_to_try():
        try:
            answer, again = subject.backend.supports(model), subject.backend.supports(model)
        except Exception as error:
            raise Failed(f"{what}: raises {type(error).__name__}: {error}") from error
        demand(isinstance(answer, Support), f"{what}: returns {answer!r}, not a Support")
        demand(isinstance(answer.ok, bool), f"{what}: ok is {answer.ok!r}")
        texts = all(isinstance(reason, str) and reason.strip() for reason in answer.reasons)
        demand(isinstance(answer.reasons, tuple) and texts, f"{what}: reasons are {answer.reasons!r}")
        demand(answer.ok or bool(answer.reasons), f"{what}: is refused without a reason")
        demand(answer == again, f"{what}: returns {answer}, then {again}")
        demand(
            not answer.ok or what != "unknown format",
            f"{what}: is supported, although the format does not exist",
        )
        supported.append(answer.ok)
    return f"{sum(supported)} of {len(supported)} models supported"


def recipes_start_with_the_exact_one(subject: Subject) -> str:
    """recipes() returns exactly one exact recipe, the unquantized conversion, as the first: it is used for the parity
    check."""
    counts = set()
    for what, _, recipes in subject.proposed():
        if subject.backend.REFERENCE and not recipes:
            continue
        exact = [recipe.name for recipe in recipes if recipe.exact]
        demand(len(exact) == 1, f"{what}: {len(exact)} of {len(recipes)} recipes are exact: {exact}")
        demand(
            recipes[0].exact, f"{what}: the first recipe is {recipes[0].name}, the exact one is {exact[0]}"
        )
        counts.add(len(recipes))
    return f"{' or '.join(map(str, sorted(counts)))} recipes"


def recipe_keys_are_unique(subject: Subject) -> str:
    """Recipes have the backend's name, unique names without a slash, and a known effort: the key `backend/name`
    identifies a recipe everywhere."""
    for what, _, recipes in subject.proposed():
        for recipe in recipes:
            demand(isinstance(recipe, Recipe), f"{what}: {recipe!r} is not a Recipe")
            demand(
                recipe.backend == subject.name, f"{what}: {recipe.name} has the backend {recipe.backend!r}"
            )
            demand(
                bool(recipe.name) and "/" not in recipe.name, f"{what}: a recipe has the name {recipe.name!r}"
            )
            demand(recipe.effort in EFFORTS, f"{what}: {recipe.name} has effort {recipe.effort!r}")
        keys = [recipe.key for recipe in recipes]
        duplicates = sorted({key for key in keys if keys.count(key) > 1})
        demand(not duplicates, f"{what}: more than one {', '.join(duplicates)}")
    return "all are unique"


def recipes_are_plain_data(subject: Subject) -> str:
    """`build` and `settings` survive a round trip through JSON: they are part of job keys and of the bundle."""
    for what, _, recipes in subject.proposed():
        for recipe in recipes:
            for name, part in (("build", recipe.build), ("settings", recipe.settings)):
                _plain(dict(part), f"{what}: {name} of {recipe.name}")
    return "build and settings are JSON"


def recipes_are_deterministic(subject: Subject) -> str:
    """The same model has the same recipes in the same order: an interrupted run must find its jobs again."""
    for what, model, recipes in subject.proposed():
        again = subject.backend.recipes(model)
        demand(recipes == again, f"{what}: {[r.key for r in recipes]}, then {[r.key for r in again]}")
    return "two calls agree"


def steps_call_existing_functions(subject: Subject) -> str:
    """steps() returns a Step without cycles. Each call is a function of the backend's own package and reads inputs that
    the core provides. Only calibrated recipes read the calibration, which is part of their keys."""
    calls = set()
    for what, _, recipes in subject.proposed():
        for recipe in recipes:
            every = list(_walk(subject.backend.steps(recipe), f"{what}: {recipe.name}"))
            for step in every:
                calls.add(step.call)
                demand(_defined(step.call), f"{what}: {recipe.name}: {step.call} does not exist")
                is_own = step.call.partition(".")[0].partition(":")[0] == subject.target.partition(".")[0]
                demand(is_own, f"{what}: {recipe.name}: {step.call} is in another package")
                unknown = set(step.reads) - _READS
                demand(not unknown, f"{what}: {recipe.name} reads {', '.join(sorted(unknown))}")
                clash = set(step.reads) & set(step.inputs)
                demand(
                    not clash,
                    f"{what}: {recipe.name}: {', '.join(sorted(clash))} is both in reads and in inputs",
                )
                _plain(dict(step.params), f"{what}: params of {step.call}")
            reads = any(_CALIBRATION & set(step.reads) for step in every)
            demand(
                reads == recipe.calibrated,
                f"{what}: {recipe.name} {'reads' if reads else 'does not read'} the calibration, "
                f"but calibrated is {recipe.calibrated}",
            )
    return ", ".join(sorted(call.partition(":")[2] for call in calls))


def steps_are_deterministic(subject: Subject) -> str:
    """steps() returns equal steps for the same recipe: equal steps are one job, which recipes share."""
    for what, _, recipes in subject.proposed():
        for recipe in recipes:
            first, again = subject.backend.steps(recipe), subject.backend.steps(recipe)
            demand(first == again, f"{what}: {recipe.name}: {first}, then {again}")
    return "two calls agree"


def environment_can_be_installed(subject: Subject) -> str:
    """The lock can be installed and the toolchain compiled, unless both are present: all other jobs need them."""
    try:
        subject.env = environment.ensure(subject.name, subject.backend.NEEDS, subject.progress)
    except SetupError as error:
        raise Failed(error.message) from error
    return ", ".join(f"{name} {version}" for name, version in sorted(subject.env.versions.items())) or "ready"


CHECKS: tuple[Check, ...] = (
    module_defines_required_names,
    *capability_checks.CHECKS,
    import_loads_no_framework,
    supports_gives_reasons,
    recipes_start_with_the_exact_one,
    recipe_keys_are_unique,
    recipes_are_plain_data,
    recipes_are_deterministic,
    steps_call_existing_functions,
    steps_are_deterministic,
    device_recipes_are_valid,
    environment_can_be_installed,
)


def _plain(data: dict[str, Any], what: str) -> None:
    try:
        back = json.loads(json.dumps(data, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise Failed(f"{what} is not JSON: {error}") from error
    demand(back == data, f"{what} is {data!r}, but {back!r} after a round trip through JSON")


def _walk(step: Step, what: str, above: tuple[int, ...] = ()) -> Iterator[Step]:
    """Yield the step and all its inputs. Raises Failed for a cycle or an object that is not a Step."""
    demand(isinstance(step, Step), f"{what}: {step!r} is not a Step")
    demand(id(step) not in above and len(above) < _MAX_DEPTH, f"{what}: {step.call} depends on itself")
    yield step
    for input_ in step.inputs.values():
        yield from _walk(input_, what, (*above, id(step)))


def _defined(call: str) -> bool:
    """Return True if `module:function` is defined at the top of that module, whose source is read, not imported."""
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
