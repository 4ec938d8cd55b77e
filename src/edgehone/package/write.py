"""Make a package: check the bundle, let the target build, check the size and the result, sign, and move it in place."""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import shutil
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from edgehone.attestation.envelope import seal
from edgehone.attestation.errors import NotVerified
from edgehone.attestation.files import read_files
from edgehone.attestation.keys import SigningKey, VerificationKey
from edgehone.attestation.statement import signature_statement
from edgehone.attestation.verify import Verified, check_approved, verify_bundle
from edgehone.bundle.read import Bundle, read
from edgehone.bundle.schema import SIGNATURE
from edgehone.bundle.write import replace_bundle
from edgehone.core.errors import InputError, SetupError
from edgehone.core.suggestions import suggest
from edgehone.package import budget as sizes
from edgehone.package.contents import digest_member
from edgehone.package.document import CARRIED, DOCUMENTS, PACKAGE, README, Package, is_package
from edgehone.package.target import Built, Check, Option, Proof, Request, Target


def silent(text: str) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class Order:
    """What to make of a bundle, and where.

    `budget` in bytes takes the place of the target's own limit. `key` signs the package, `trusted` must have signed the
    bundle. `unapproved` allows bundles that were not approved.
    """

    target: Target
    out: Path
    options: Mapping[str, str] = field(default_factory=dict)
    budget: int | None = None
    key: SigningKey | None = None
    trusted: VerificationKey | None = None
    unapproved: bool = False


@dataclass(frozen=True)
class Packed:
    """A package that was made, and the outcomes of the checks of independent tools."""

    path: Path
    package: Package
    checks: tuple[Check, ...]
    warnings: tuple[str, ...]


def pack(bundle: Path, order: Order, tell: Callable[[str], None] = silent) -> Packed:
    """Make a package of a bundle. An older package at the same place stays until the new one is complete.

    Raises InputError if the bundle is not approved, the target cannot run its artifact, an option is wrong or the size
    is over the budget; NotVerified if the bundle was changed; SetupError if a tool is missing, an independent check
    fails, or the disk is full. Nothing is left behind then.
    """
    out = order.out.absolute()
    check_place(out)
    check_tools(order.target)
    options = settled(order.target.OPTIONS, order.options, order.target.NAME)
    verified = verify_bundle(bundle, order.trusted)
    opened = read(bundle)
    warnings = check_approval(opened, verified, unapproved=order.unapproved)
    if reason := order.target.refuses(opened):
        raise InputError(
            f"{bundle} cannot be packaged for {order.target.NAME}: {reason}",
            hint="edgehone package --list tells what each target runs",
        )
    staged, scratch = (out.with_name(f".{out.name}.{what}") for what in ("partial", "scratch"))
    try:
        for folder in (staged, scratch):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        tell(f"building the package for {order.target.NAME}")
        built = order.target.build(Request(opened, options, time_of(opened), scratch, tell), staged)
        package = _complete(staged, opened, verified, order, options, built)
        tell("checking the package with independent tools")
        checks = tuple(order.target.check(staged, built, scratch))
        _raise_failed(checks)
        replace_bundle(staged, out)
        return Packed(out, package, checks, warnings)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise SetupError(
            f"the package cannot be written to {out}: {error.strerror or error}",
            hint="free some space and run the same command again" if full else f"make {out.parent} writable",
        ) from error
    finally:
        for folder in (staged, scratch):
            shutil.rmtree(folder, ignore_errors=True)


def check_place(out: Path) -> None:
    """Raise InputError unless a package may be written there: a new path, an empty folder, or an older package."""
    if out.is_dir() and any(out.iterdir()) and not is_package(out):
        raise InputError(
            f"{out} is a folder with other files in it; a package would replace them",
            hint="give another --out",
        )
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} exists and is not a folder", hint="give another --out")
    nearest = next(folder for folder in (out.parent, *out.parent.parents) if folder.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise InputError(f"{nearest} cannot be written to", hint="give another --out")


def check_tools(target: Target) -> None:
    """Raise SetupError with what to install if a program is missing that the target needs."""
    missing = [tool for tool in target.TOOLS if shutil.which(tool.program) is None]
    if missing:
        programs = ", ".join(tool.program for tool in missing)
        packages = " ".join(dict.fromkeys(tool.package for tool in missing))
        raise SetupError(
            f"{programs} needed for {target.NAME} is not installed", hint=f"apt install {packages}"
        )


def settled(known: Sequence[Option], given: Mapping[str, str], target: str) -> dict[str, str]:
    """Return all options of a target with a value: the given ones, and the defaults of the others."""
    options = {one.name: one for one in known}
    for name, value in given.items():
        if name not in options:
            raise InputError(
                f"{target} has no option '{name}'; {suggest(name, options)}"
                if options
                else f"{target} has no options",
                hint="edgehone package --list",
            )
        choices = options[name].choices
        if choices and value not in choices:
            raise InputError(
                f"the option {name} of {target} is '{value}'; {suggest(value, choices)}",
                hint="edgehone package --list",
            )
    defaults = {name: one.default for name, one in options.items() if one.default is not None}
    return {**defaults, **given}


def check_approval(bundle: Bundle, verified: Verified, *, unapproved: bool) -> tuple[str, ...]:
    """Return what a user must know of a bundle's approval. Raises InputError if it was refused.

    A bundle without a certificate is packaged with a warning if it passed every gate of its decision.
    """
    hint = "package another bundle, or add --unapproved"
    if not bundle.manifest.approved and not unapproved:
        raise InputError(
            f"{bundle.path} does not pass every gate of its decision: it is not approved", hint=hint
        )
    if verified.certificate is None:
        return (f"the package carries no certificate: edgehone certify {bundle.path}",)
    try:
        return tuple(f"approved on the condition: {one}" for one in check_approved(verified))
    except NotVerified as error:
        if not unapproved:
            raise InputError(error.message, hint=hint) from error
        return (error.message,)


def time_of(bundle: Bundle) -> int:
    """Return when a bundle was made, in seconds since 1970 UTC: the only time that is written into packages."""
    return int(datetime.fromisoformat(bundle.manifest.created).timestamp())


def _complete(
    staged: Path, bundle: Bundle, verified: Verified, order: Order, options: Mapping[str, str], built: Built
) -> Package:
    """Add the documents of the bundle, README.md, package.json and the signature to what the target built."""
    (staged / README).write_text(built.readme, "utf-8")
    (staged / DOCUMENTS).mkdir()
    for name in CARRIED:
        if (bundle.path / name).is_file():
            shutil.copyfile(bundle.path / name, staged / DOCUMENTS / name)
    if (bundle.path / "notices").is_dir():
        shutil.copytree(bundle.path / "notices", staged / DOCUMENTS / "notices")
    _check_carried(staged, bundle, built)
    found = sizes.fillings(staged, built.deliverables, order.budget, order.target.BUDGET)
    artifact = sum(one.stat().st_size for one in bundle.artifact.rglob("*") if one.is_file())
    sizes.check_budget(found, built.deliverables, bundle.decision, artifact)
    settle_modes(staged)
    local = {one.name for one in order.target.OPTIONS if one.file}
    package = Package(
        edgehone=version("edgehone"),
        created=bundle.manifest.created,
        target=order.target.NAME,
        options={name: value for name, value in sorted(options.items()) if name not in local},
        bundle=verified.digest,
        artifact=bundle.manifest.artifact_key,
        recipe=f"{bundle.manifest.recipe['backend']}/{bundle.manifest.recipe['name']}",
        approval=verified.certificate.approval if verified.certificate else "none",
        budget=order.budget if order.budget is not None else order.target.BUDGET,
        fillings=found,
        deliverables=built.deliverables,
        carried=built.carried,
        proofs=(proof_of(bundle),),
        notes=built.notes,
        files=dict(read_files(staged).digests),
    )
    package.write(staged)
    (staged / PACKAGE).chmod(0o644)
    if order.key is not None:
        digests = dict(read_files(staged).digests)
        (staged / SIGNATURE).write_bytes(seal(signature_statement(order.out.name, digests), order.key))
    return package


def _check_carried(staged: Path, bundle: Bundle, built: Built) -> None:
    """Raise SetupError if what a target says that it carries is not in the package, byte for byte."""
    for one in built.carried:
        with (bundle.path / one.bundle).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest_member(staged, one.at) != digest:
            raise SetupError(
                f"{one.at} in the package differs from the bundle's {one.bundle}",
                hint="report it: the target's module is wrong",
            )


def settle_modes(folder: Path) -> None:
    """Give files and folders the same permissions on every machine; programs stay executable."""
    for path in folder.rglob("*"):
        executable = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
        path.chmod(0o755 if executable else 0o644)
    folder.chmod(0o755)


def proof_of(bundle: Bundle) -> Proof:
    """Return the instruction set on which the bundle's figures were measured."""
    device = bundle.manifest.device
    return Proof(str(device.get("architecture") or platform.machine()), tuple(device.get("simd") or ()))


def _raise_failed(checks: tuple[Check, ...]) -> None:
    if failed := [one for one in checks if one.outcome == "failed"]:
        raise SetupError(
            f"the package does not pass {failed[0].name}: {failed[0].reason}",
            hint="nothing was written; report it with the bundle's manifest.json",
        )
