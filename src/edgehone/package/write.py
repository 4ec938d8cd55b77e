"""Make a package: check the bundle, let the target build, check the size and the result, sign, and move it in place."""

from __future__ import annotations

import errno
import shutil
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from edgehone.attestation.envelope import seal
from edgehone.attestation.errors import NotVerified
from edgehone.attestation.files import read_files
from edgehone.attestation.keys import SigningKey, VerificationKey
from edgehone.attestation.statement import signature_statement
from edgehone.attestation.verify import Verified, verify_bundle
from edgehone.bundle.read import Bundle, read
from edgehone.bundle.schema import SIGNATURE
from edgehone.bundle.write import replace_bundle
from edgehone.core.errors import InputError, SetupError
from edgehone.execution.sole_writer import sole_writer
from edgehone.package import budget as sizes
from edgehone.package import registry
from edgehone.package.admission import check_approval, check_place, check_tools, settled
from edgehone.package.document import DOCUMENTS, PACKAGE, README, Package, documents_of
from edgehone.package.proof import proof_of_device, uncovered
from edgehone.package.readme import complete_readme
from edgehone.package.target import Built, Check, Request, Target
from edgehone.package.verify import verify_package

# ZIP archives cannot hold an earlier time.
_EARLIEST = int(datetime(1980, 1, 1, tzinfo=UTC).timestamp())


def silent(text: str) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class Order:
    """What to make of a bundle, and where.

    `budget` in bytes takes the place of the target's own limit. `key` signs the package, `trusted` must have signed the
    bundle. `unapproved` allows bundles that were not approved. `notes` are written into the package besides those of
    the target.
    """

    target: Target
    out: Path
    options: Mapping[str, str] = field(default_factory=dict)
    budget: int | None = None
    key: SigningKey | None = None
    trusted: VerificationKey | None = None
    unapproved: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Packed:
    """A package that was made, and the outcomes of the checks of independent tools.

    `warnings` are what a user must know of the bundle's approval, which the package has too, and what no proof covers.
    """

    path: Path
    package: Package
    checks: tuple[Check, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _Source:
    """The bundle that is packaged."""

    bundle: Bundle
    verified: Verified
    options: Mapping[str, str]
    warnings: tuple[str, ...]


def pack(bundle: Path, order: Order, tell: Callable[[str], None] = silent) -> Packed:
    """Make a package of a bundle. An older package at the same place stays until the new one is complete.

    Raises InputError if the bundle is not approved, the target cannot run its artifact, an option is wrong or the size
    is over the budget; NotVerified if the bundle was changed; SetupError if a tool is missing, an independent check
    fails, the disk is full, or another process writes there. Nothing is left behind then.
    """
    out = order.out.absolute()
    check_place(out, bundle)
    check_tools(order.target)
    source = _admitted(bundle, order)
    with sole_writer(out):
        return _made(source, order, out, tell)


def _made(source: _Source, order: Order, out: Path, tell: Callable[[str], None]) -> Packed:
    """Build, complete, check and verify the package beside `out`, and move it there."""
    staged, scratch = (out.with_name(f".{out.name}.{what}") for what in ("partial", "scratch"))
    try:
        for folder in (staged, scratch):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        tell(f"building the package for {order.target.NAME}")
        request = Request(source.bundle, source.options, time_of(source.bundle), scratch, tell)
        built = order.target.build(request, staged)
        _check_complete(source.bundle, built, order.target.NAME)
        package = _complete(staged, source, order, built)
        tell("checking the package with independent tools")
        checks = tuple(order.target.check(staged, built, scratch))
        _raise_failed(checks)
        tell("verifying the package")
        _verify_result(staged, source)
        replace_bundle(staged, out)
        missing = uncovered(package.proofs, package.runs_on, source.bundle.manifest.target, str(order.out))
        return Packed(out, package, checks, (*source.warnings, *([missing] if missing else [])))
    except OSError as error:
        raise _disk_error(error, out) from error
    finally:
        for folder in (staged, scratch):
            shutil.rmtree(folder, ignore_errors=True)


def _admitted(bundle: Path, order: Order) -> _Source:
    options = settled(order.target.OPTIONS, order.options, order.target.NAME)
    verified = verify_bundle(bundle, order.trusted)
    opened = read(bundle)
    warnings = check_approval(opened, verified, unapproved=order.unapproved)
    if reason := order.target.refuses(opened):
        raise InputError(
            f"{bundle} cannot be packaged for {order.target.NAME}: {reason}",
            hint=_others(opened, order.target.NAME),
        )
    return _Source(opened, verified, options, warnings)


def _others(bundle: Bundle, target: str) -> str:
    """Return what can be made of a bundle that a target does not take."""
    targets = [registry.load(name) for name in registry.names() if name != target]
    names = [one.NAME for one in targets if one.refuses(bundle) is None]
    if not names:
        return "edgehone package --list tells what each target runs"
    return f"edgehone package {bundle.path} --for {'|'.join(names)}"


def time_of(bundle: Bundle) -> int:
    """Return when a bundle was made, in seconds since 1970 UTC: the only time that is written into packages."""
    created = bundle.manifest.created
    try:
        time = datetime.fromisoformat(created)
    except ValueError:
        raise InputError(
            f"the manifest of {bundle.path} says that it was created at {created!r}, which is no time",
            hint="make the bundle again with its reproduce.sh",
        ) from None
    return max(_EARLIEST, int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()))


def _complete(staged: Path, source: _Source, order: Order, built: Built) -> Package:
    """Add the documents of the bundle, README.md, package.json and the signature to what the target built."""
    _copy_documents(source.bundle, staged / DOCUMENTS)
    notes = (*source.warnings, *order.notes, *built.notes)
    found = sizes.fillings(staged, built.deliverables, order.budget, order.target.BUDGET, built.parts)
    artifact = sum(one.stat().st_size for one in source.bundle.artifact.rglob("*") if one.is_file())
    sizes.check_budget(found, built.deliverables, source.bundle.decision, artifact)
    manifest, certificate = source.bundle.manifest, source.verified.certificate
    local = {one.name for one in order.target.OPTIONS if one.file}
    package = Package(
        edgehone=version("edgehone"),
        created=manifest.created,
        target=order.target.NAME,
        options={name: value for name, value in sorted(source.options.items()) if name not in local},
        bundle=source.verified.digest,
        artifact=manifest.artifact_key,
        recipe=f"{manifest.recipe['backend']}/{manifest.recipe['name']}",
        approval=certificate.approval if certificate else "none",
        budget=order.budget if order.budget is not None else order.target.BUDGET,
        fillings=found,
        deliverables=built.deliverables,
        carried=tuple(sorted(built.carried, key=lambda one: (one.bundle, one.at))),
        proofs=(proof_of_device(manifest.device),),
        runs_on=built.runs_on,
        notes=notes,
        files={},
    )
    (staged / README).write_text(complete_readme(built.readme, package), "utf-8")
    settle_modes(staged)
    package = Package(**{**vars(package), "files": dict(read_files(staged).digests)})
    package.write(staged)
    (staged / PACKAGE).chmod(0o644)
    if order.key is not None:
        digests = dict(read_files(staged).digests)
        (staged / SIGNATURE).write_bytes(seal(signature_statement(order.out.name, digests), order.key))
        (staged / SIGNATURE).chmod(0o644)
    return package


def _check_complete(bundle: Bundle, built: Built, target: str) -> None:
    """Raise SetupError if a part of the artifact is carried. Targets that do not carry it name it, as by a digest."""
    files = {one.relative_to(bundle.path).as_posix() for one in bundle.artifact.rglob("*") if one.is_file()}
    carried = files & {one.bundle for one in built.carried}
    if carried and (missing := sorted(files - carried - set(built.left_out))):
        raise SetupError(
            f"the target {target} leaves out {', '.join(missing)}, a part of the artifact",
            hint=_others(bundle, target),
        )


def _copy_documents(bundle: Bundle, place: Path) -> None:
    for name in documents_of(bundle):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bundle.path / name, place / name)


def settle_modes(folder: Path) -> None:
    """Give files and folders the same permissions on every machine; programs stay executable."""
    for path in folder.rglob("*"):
        if path.is_symlink():
            continue  # verification refuses links by name
        executable = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
        path.chmod(0o755 if executable else 0o644)
    folder.chmod(0o755)


def _verify_result(staged: Path, source: _Source) -> None:
    """Verify the package as its receiver will. Raises NotVerified if the bundle changed meanwhile, SetupError if the
    target's module wrote something that no package may contain."""
    try:
        verify_package(staged)
    except NotVerified as error:
        if verify_bundle(source.bundle.path).digest != source.verified.digest:
            raise NotVerified(
                f"{source.bundle.path} was changed while it was packaged", hint="run the same command again"
            ) from error
        raise SetupError(
            f"the target built a package that does not verify: {error.message}",
            hint="nothing was written; report it: the target's module is wrong",
        ) from error


def _raise_failed(checks: tuple[Check, ...]) -> None:
    if failed := [one for one in checks if one.outcome == "failed"]:
        raise SetupError(
            f"the package does not pass {failed[0].name}: {failed[0].reason}",
            hint="nothing was written; report it with the bundle's manifest.json",
        )


def _disk_error(error: OSError, out: Path) -> SetupError:
    # shutil.copytree collects the errors of its files in one that has no number.
    full = error.errno in (errno.ENOSPC, errno.EDQUOT) or f"[Errno {errno.ENOSPC}]" in str(error)
    if full:
        return SetupError(
            f"no space left on the disk of {out.parent} for the package",
            hint="free some space and run the same command again",
        )
    where = f": {error.filename}" if error.filename else ""
    return SetupError(
        f"the package cannot be written to {out}: {error.strerror or error}{where}",
        hint=f"check that {out.parent} can be written to",
    )
