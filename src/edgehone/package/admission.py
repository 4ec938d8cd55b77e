"""Checks before a package is built: of the place, the tools, the options, and the bundle's approval."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgehone.attestation.verify import Verified
from edgehone.bundle.read import Bundle
from edgehone.bundle.schema import SIGNATURE
from edgehone.core.errors import InputError, SetupError
from edgehone.core.suggestions import suggest
from edgehone.package.document import PACKAGE, is_package, read_package
from edgehone.package.target import Option, Target


def check_place(out: Path, bundle: Path) -> None:
    """Raise InputError unless a package may be written to `out`: a new path, an empty folder, or an older package.

    An older package with files that do not belong to it counts as a folder with other files. A package may not lie in
    its bundle, which would no longer be as it was written.
    """
    hint = "give another --out"
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise InputError(f"{out} exists and is not a folder", hint=hint)
    if bundle.resolve() in (out.resolve(), *out.resolve().parents):
        raise InputError(f"{out} is in the bundle, which must stay as it was written", hint=hint)
    if out.is_dir() and (foreign := _foreign_file(out)):
        raise InputError(
            f"{out} has other files in it, such as {foreign}; a package would replace them", hint=hint
        )
    nearest = next(folder for folder in (out.parent, *out.parent.parents) if folder.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise InputError(f"{nearest} cannot be written to", hint=hint)


def _foreign_file(out: Path) -> str | None:
    """Return the name of a file in a folder that is not one of a package's, None if there is none."""
    known: set[str] = set()
    if is_package(out):
        try:
            known = {PACKAGE, SIGNATURE, *read_package(out).files}
        except InputError:
            known = set()  # a damaged package: whose files these are cannot be told
    names = (
        one.relative_to(out).as_posix() for one in out.rglob("*") if one.is_symlink() or not one.is_dir()
    )
    return next((name for name in names if name not in known), None)


def check_tools(target: Target) -> None:
    """Raise SetupError with what to install if a program is missing that the target needs."""
    missing = [tool for tool in target.TOOLS if shutil.which(tool.program) is None]
    if not missing:
        return
    programs = ", ".join(tool.program for tool in missing)
    commands = [tool.package for tool in missing if " " in tool.package]
    if packages := " ".join(dict.fromkeys(tool.package for tool in missing if " " not in tool.package)):
        commands.insert(0, f"apt install {packages}")
    verb = "is" if len(missing) == 1 else "are"
    raise SetupError(
        f"{programs}, which the target {target.NAME} needs, {verb} not installed",
        hint="; ".join(dict.fromkeys(commands)),
    )


def settled(known: Sequence[Option], given: Mapping[str, str], target: str) -> dict[str, str]:
    """Return all options of a target with a value: the given ones, and the defaults of the others."""
    options = {one.name: one for one in known}
    hint = "edgehone package --list"
    for name, value in given.items():
        if name not in options:
            known_ones = suggest(name, options) if options else "it has none"
            raise InputError(f"the target {target} has no option '{name}'; {known_ones}", hint=hint)
        choices = options[name].choices
        if choices and value not in choices:
            raise InputError(
                f"the option {name} of {target} cannot be '{value}'; {suggest(value, choices)}", hint=hint
            )
    defaults = {name: one.default for name, one in options.items() if one.default is not None}
    return {**defaults, **given}


def check_approval(bundle: Bundle, verified: Verified, *, unapproved: bool) -> tuple[str, ...]:
    """Return the conditions of a bundle's approval for the user. Raises InputError if it was not approved.

    A bundle without a certificate is packaged with a warning if it passed every gate of its decision. `unapproved`
    allows the others too. The sentences name no paths: they become part of the package.
    """
    certificate = verified.certificate
    against = []
    if not bundle.manifest.approved:
        against.append("the bundle is not approved: it does not pass every gate of its decision")
    if certificate is not None and certificate.approval == "no":
        reasons = "; ".join(certificate.conditions)
        against.append(f"the bundle is not approved for {certificate.profile}: {reasons}")
    if against and not unapproved:
        hint = "package another bundle, or add --unapproved; the package will say so"
        raise InputError(f"{bundle.path} is refused: {'; '.join(against)}", hint=hint)
    if certificate is None:
        against.append("the bundle has no certificate")
    elif certificate.approval == "conditional":
        against += [f"the bundle is approved on the condition: {one}" for one in certificate.conditions]
    return tuple(against)
