"""Conformance: one test suite for all targets, which authors of plugins can run too (`edgehone package --conform`).

A check is a function. Its name is the name of the check, and its docstring states the requirement and the reason for
it (`worker.conformance.outcome`). The first checks need the module only, the others a bundle that the target runs.
"""

from __future__ import annotations

import inspect
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgehone.attestation.errors import NotVerified
from edgehone.attestation.files import read_files, state_of
from edgehone.bundle.read import Bundle, read
from edgehone.core.errors import EdgehoneError, SetupError
from edgehone.package.archive_times import late_entries
from edgehone.package.document import README
from edgehone.package.registry import REQUIRED
from edgehone.package.target import Built, Check, Target
from edgehone.package.verify import verify_package
from edgehone.package.write import Order, Packed, pack, time_of
from edgehone.worker.conformance import outcome as results
from edgehone.worker.conformance.outcome import Failed, Outcome, Skipped, demand

_CUT = 12  # so many files of a deliverable are cut in half, one after the other, until a check notices
_ARGUMENTS = {
    "refuses": ("bundle",),
    "build": ("request", "folder"),
    "check": ("folder", "built", "scratch"),
}


@dataclass
class Subject:
    """The target that is checked, and the packages that it made of a bundle: two, and what `check` was given."""

    target: Target
    bundle: Path | None
    folder: Path
    tell: Callable[[str], None]
    options: Mapping[str, str] = field(default_factory=dict)
    built: Built | None = None
    packages: list[Packed] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    skipped: str = ""

    @property
    def package(self) -> Packed:
        """The first package. Raises Skipped without one."""
        if not self.packages:
            raise Skipped(self.skipped)
        return self.packages[0]

    @property
    def opened(self) -> Bundle:
        """The bundle. Raises Skipped without one."""
        if self.bundle is None:
            raise Skipped(self.skipped)
        return read(self.bundle)


def names_are_complete(subject: Subject) -> str:
    """The module defines every name of the contract, and its functions take the arguments that edgehone passes:
    otherwise the first use fails."""
    module = subject.target
    missing = [name for name in REQUIRED if not hasattr(module, name)]
    demand(not missing, f"it lacks {', '.join(missing)}")
    for name, arguments in _ARGUMENTS.items():
        function = getattr(module, name)
        try:
            inspect.signature(function).bind(*arguments)
        except TypeError as error:
            demand(False, f"{name} is called with ({', '.join(arguments)}): {error}")
    return f"{len(REQUIRED)} names"


def summary_is_a_phrase(subject: Subject) -> str:
    """SUMMARY is one phrase of at least three words without a full stop: the list of targets prints it after the
    name."""
    summary = subject.target.SUMMARY
    good = len(summary.split()) >= 3 and len(summary) <= 120 and summary.isprintable() and summary[-1:] != "."
    demand(good, repr(summary))
    return summary


def options_and_tools_are_documented(subject: Subject) -> str:
    """Each option has a help text and a default that is one of its choices, and each tool the package or command that
    installs it: users learn of them only from the list of targets."""
    options, tools = subject.target.OPTIONS, subject.target.TOOLS
    names = [one.name for one in options]
    demand(len(names) == len({*names}), f"an option is there twice: {', '.join(names)}")
    for option in options:
        demand(bool(option.name) and "=" not in option.name, f"an option is called {option.name!r}")
        demand(len(option.help.split()) >= 2, f"the help of {option.name} is {option.help!r}")
        known = option.default is None or not option.choices or option.default in option.choices
        demand(known, f"the default of {option.name}, {option.default!r}, is not one of its choices")
    for tool in tools:
        demand(bool(tool.program and tool.package), f"{tool} lacks what installs it")
    return f"{len(options)} options, {len(tools)} tools"


def foreign_artifacts_are_refused(subject: Subject) -> str:
    """A bundle of the null backend, whose artifact no device runs, is refused with a reason, unless the module's
    ACCEPTS_ANY says why any artifact will do: otherwise the package fails on the device."""
    place = subject.folder / "null"
    (place / "artifact").mkdir(parents=True)
    (place / "artifact" / "weights.bin").write_bytes(b"null")
    for folder in (subject.opened.canaries, subject.opened.tokenizer):
        if folder is not None:  # nothing but the artifact is a reason to refuse it
            shutil.copytree(folder, place / folder.name)
    manifest = subject.opened.manifest
    null = replace(manifest, recipe={**manifest.recipe, "backend": "null", "name": "half"})
    reason = subject.target.refuses(replace(subject.opened, path=place, manifest=null))
    accepted = getattr(subject.target, "ACCEPTS_ANY", "")
    demand(bool(reason or accepted), "it accepts the artifact, and has no ACCEPTS_ANY with a reason")
    return str(reason or accepted)


def packages_are_reproducible(subject: Subject) -> str:
    """Two builds of the same bundle, the second from another folder, in another time zone and with other default
    permissions, give the same bytes: anybody can make a package again and compare."""
    first, second = (read_files(one.path).digests for one in _two(subject))
    differing = sorted(name for name in {*first, *second} if first.get(name) != second.get(name))
    demand(not differing, f"these files differ: {', '.join(differing[:5])}")
    return f"{len(first)} files are the same"


def _two(subject: Subject) -> Sequence[Packed]:
    if len(subject.packages) < 2:
        raise Skipped(subject.skipped)
    return subject.packages


def archives_have_fixed_times(subject: Subject) -> str:
    """No entry of an archive is later than the bundle: a later time is that of the build, or of this machine's
    files."""
    limit = time_of(subject.opened)
    late, seen = list[str](), 0
    for one in subject.package.package.deliverables:
        found = late_entries(subject.package.path / one.path, limit)
        late += found.late
        seen += found.entries
    demand(not late, f"later than the bundle: {', '.join(late[:5])}")
    return f"{seen} entries of archives"


def the_artifact_is_carried(subject: Subject) -> str:
    """Each file of the artifact is carried byte for byte, or a note of the package says by its name what became of it:
    what is carried can be verified."""
    bundle = subject.opened
    artifact = {
        one.relative_to(bundle.path).as_posix() for one in bundle.artifact.rglob("*") if one.is_file()
    }
    carried = {one.bundle for one in subject.package.package.carried}
    notes = " ".join(subject.package.package.notes)
    missing = sorted(name for name in artifact - carried if Path(name).name not in notes)
    demand(not missing, f"not carried, and in no note: {', '.join(missing)}")
    return f"{len(artifact & carried)} of {len(artifact)} files are carried"


def the_readme_names_commands(subject: Subject) -> str:
    """README.md has a title, a command to copy, and the name of a deliverable: its recipient has no other
    instructions."""
    packed = subject.package
    assert subject.built is not None
    text = subject.built.readme
    demand(text.startswith("# "), "it does not begin with a title")
    demand("```" in text or "\n    " in text, "it has no command: lines in a fence or with four spaces")
    names = [one.path for one in subject.built.deliverables]
    demand(any(name in text for name in names), f"it names none of {', '.join(names)}")
    demand(text.strip() in _without_notes(packed.path / README, text), f"{README} differs from it")
    return f"{len(text.splitlines())} lines"


def _without_notes(path: Path, text: str) -> str:
    """Return README.md of a package without the notes that follow its title."""
    lines = [line for line in path.read_text("utf-8").splitlines() if not line.startswith(">")]
    title, rest = lines[0], "\n".join(lines[1:]).strip("\n")
    gap = "\n\n" if text.partition("\n")[2].startswith("\n") else "\n"
    return f"{title}{gap}{rest}"


def damage_is_noticed(subject: Subject) -> str:
    """Verification refuses a package of which a byte in a deliverable was changed. Where an independent tool was at
    hand, `check` fails when one of the files is cut in half: a check that cannot fail proves nothing."""
    packed, noticed = subject.package, list[str]()
    passed = [one.name for one in packed.checks if one.outcome == "passed"]
    for one in packed.package.deliverables:
        files = _from_both_ends(packed.path / one.path)
        with _damaged(subject, files[0], _flip) as copy:
            _demand_refused(copy)
        if passed and (victim := next((file for file in files[:_CUT] if _is_noticed(subject, file)), None)):
            noticed.append(victim.relative_to(packed.path).as_posix())
    demand(bool(noticed) or not passed, f"{', '.join(passed)} passed whatever file was cut in half")
    seen = f"half of {', '.join(noticed)}" if noticed else "no check was made, or all were skipped"
    return f"{len(packed.checks)} checks; noticed: {seen}"


def _is_noticed(subject: Subject, victim: Path) -> bool:
    """Return True if a check fails when half of a file of the package is missing."""
    with _damaged(subject, victim, _halve) as copy:
        try:
            return any(check.outcome == "failed" for check in _checks(subject, copy))
        except EdgehoneError:
            return True  # it stops the package too, with a message for the user
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            raise Failed(
                f"check ends with {what} when half of {victim.name} is missing, not with failed"
            ) from error


@contextmanager
def _damaged(subject: Subject, victim: Path, change: Callable[[Path], None]) -> Iterator[Path]:
    """Yield a copy of the first package in which a file is damaged."""
    place = subject.package.path
    copy = Path(shutil.copytree(place, subject.folder / "damaged"))
    try:
        change(copy / victim.relative_to(place))
        yield copy
    finally:
        shutil.rmtree(copy)


def _demand_refused(folder: Path) -> None:
    try:
        verify_package(folder)
    except NotVerified:
        return
    demand(False, "verification accepts a changed deliverable")


def _checks(subject: Subject, folder: Path) -> Sequence[Check]:
    assert subject.built is not None
    scratch = subject.folder / "scratch"
    scratch.mkdir()
    try:
        return subject.target.check(folder, subject.built, scratch)
    finally:
        shutil.rmtree(scratch)


def _from_both_ends(path: Path) -> list[Path]:
    """Return the files of a deliverable: the largest, the smallest, the second largest, and so on.

    What a tool loads is large, and what it is configured by is small.
    """
    files = [one for one in path.rglob("*") if one.is_file()] if path.is_dir() else [path]
    files = sorted(
        (one for one in files if one.stat().st_size), key=lambda one: (-one.stat().st_size, one.name)
    )
    order = [one for pair in zip(files, reversed(files), strict=True) for one in pair]
    return list(dict.fromkeys(order))


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _halve(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def nothing_is_written_elsewhere(subject: Subject) -> str:
    """Building and checking write to the package's folder and to the scratch folder only; the bundle stays as it
    was."""
    _two(subject)
    demand(not subject.outside, f"changed: {', '.join(subject.outside)}")
    return "the bundle, the working directory and the place of the package have nothing new"


_OF_MODULE = (names_are_complete, summary_is_a_phrase, options_and_tools_are_documented)
_OF_PACKAGE = (
    foreign_artifacts_are_refused,
    packages_are_reproducible,
    archives_have_fixed_times,
    the_artifact_is_carried,
    the_readme_names_commands,
    damage_is_noticed,
    nothing_is_written_elsewhere,
)


def conform(
    target: Target,
    bundle: Path | None,
    tell: Callable[[str], None] = lambda text: None,
    options: Mapping[str, str] | None = None,
) -> list[Outcome]:
    """Run all checks of a target; return their outcomes. Without a bundle those of packages are skipped.

    Raises InputError if the target refuses the bundle, NotVerified if the bundle was changed.
    """
    with tempfile.TemporaryDirectory(prefix="edgehone-conform-") as folder:
        subject = Subject(target, bundle, Path(folder), tell, options or {})
        subject.skipped = "give a bundle that the target runs"
        outcomes = [results.perform(check, subject) for check in _OF_MODULE]
        if bundle is not None and not any(one.state == "fail" for one in outcomes):
            try:
                _make_packages(subject, bundle)
            except SetupError as error:
                subject.skipped = f"{error.message}; {error.hint}"
                if "not installed" not in error.message:
                    return [*outcomes, results.outcome(packages_are_reproducible, "fail", error.message)]
        return outcomes + [results.perform(check, subject) for check in _OF_PACKAGE]


def _make_packages(subject: Subject, bundle: Path) -> None:
    """Make two packages, each in an empty working directory, and note what changed outside of their folders."""
    copy = Path(shutil.copytree(bundle, subject.folder / "elsewhere" / "copy"))
    paths = {one.name for one in subject.target.OPTIONS if one.file}
    options = {
        name: str(Path(value).resolve()) if name in paths else value
        for name, value in subject.options.items()
    }
    for source, name in ((bundle.resolve(), "package"), (copy, "again")):
        subject.tell(f"making the package ({name})")
        place, directory = subject.folder / name / "package", subject.folder / f"{name}-directory"
        place.parent.mkdir()
        directory.mkdir()
        before = state_of(source)
        order = Order(_watching(subject), place, options, unapproved=True)
        with chdir(directory), _elsewhere() if name == "again" else nullcontext():
            subject.packages.append(pack(source, order, subject.tell))
        changed = ["the bundle"] if state_of(source) != before else []
        subject.outside += changed + [one.name for one in directory.iterdir()]
        subject.outside += [one.name for one in place.parent.iterdir() if one != place]


def _watching(subject: Subject) -> Target:
    """Return the target, with a `build` that keeps what it returned."""
    target = subject.target

    class Watching:
        def __getattr__(self, name: str) -> object:
            return getattr(target, name)

        def build(self, request: object, folder: Path) -> Built:
            subject.built = target.build(request, folder)  # type: ignore[arg-type]
            return subject.built

    return Watching()  # type: ignore[return-value]


@contextmanager
def _elsewhere() -> Iterator[None]:
    """Work as on another machine: another time zone, other default permissions."""
    zone, mask = os.environ.get("TZ"), os.umask(0o077)
    os.environ["TZ"] = "Pacific/Kiritimati"
    time.tzset()
    try:
        yield
    finally:
        os.umask(mask)
        os.environ.pop("TZ")
        if zone is not None:
            os.environ["TZ"] = zone
        time.tzset()
