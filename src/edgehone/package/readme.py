"""README.md of a package: the target's text, the warnings and notes, and how to verify the package."""

from __future__ import annotations

from importlib.resources import files
from string import Template

from edgehone.core.sizes import shown
from edgehone.package.document import Package


def complete_readme(text: str, package: Package) -> str:
    """Return README.md: the target's text, in which the notes follow the title, and the frame's own section."""
    title, _, rest = text.partition("\n")
    notes = "".join(
        f"> {note[:1].upper()}{note[1:]}{'' if note.endswith('.') else '.'}\n>\n" for note in package.notes
    )
    template = Template(files("edgehone.package").joinpath("readme.md.template").read_text("utf-8"))
    evidence = template.substitute(
        recipe=package.recipe,
        digest=package.bundle,
        approval=_APPROVAL[package.approval],
        edgehone=package.edgehone,
        sizes="\n".join(
            f"| {one.path} | {shown(one.bytes)} | {shown(one.limit) if one.limit else 'none'} |"
            for one in package.fillings
        ),
        proof=_shown_proofs(package),
    )
    body = rest.strip("\n")
    return "\n".join(
        part for part in (f"{title}\n", notes.removesuffix(">\n"), f"{body}\n", evidence) if part.strip()
    )


def with_proofs(text: str, package: Package) -> str:
    """Return README.md with the instruction sets that the package's figures hold for by now."""
    begin, found, rest = text.partition(_PROOFS)
    if not found:
        return text
    return f"{begin}{_PROOFS}{_shown_proofs(package)} |{rest[rest.index(chr(10)) :]}"


def _shown_proofs(package: Package) -> str:
    return ", ".join(
        f"{one.architecture} ({', '.join(one.features) or 'baseline'})" for one in package.proofs
    )


_PROOFS = "| quality figures hold for | "  # as in the template
_APPROVAL = {
    "yes": "approved by its certificate",
    "conditional": "approved by its certificate on conditions",
    "no": "not approved by its certificate",
    "none": "it has no certificate",
}
