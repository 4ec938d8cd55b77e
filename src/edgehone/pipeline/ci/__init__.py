"""Files that `edgehone pipeline init` writes: a pipeline file with its schema, and workflows of CI systems."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Final, Literal

from edgehone.core.errors import InputError, SetupError

System = Literal["github", "gitlab", "jenkins"]
# Where each system looks for its file, below the root of the repository.
PLACES: Final[Mapping[System, str]] = {
    "github": ".github/workflows/edgehone.yml",
    "gitlab": ".gitlab-ci.yml",
    "jenkins": "Jenkinsfile",
}
SCHEMA_NAME: Final = "pipeline.schema.json"
# What every shell, YAML and Groovy takes without quotes.
_PLAIN = re.compile(r"[A-Za-z0-9._/-]+")
_UPLOAD = "b4b15b8c7c6ac21ea08fcf65892d2ee8f75cf882 # v4.4.3"
_DOWNLOAD = """      - uses: actions/download-artifact@fa0a91b85d4f404e444e00e005971372dc801d16 # v4.1.8
        with:
          name: run-@before
          path: ${{ env.RUN }}
"""


def pipeline_file(model: str) -> str:
    """Return a pipeline file for a model, with a line by which editors find the schema beside it."""
    quoted = model if _PLAIN.fullmatch(model) else "'" + model.replace("'", "''") + "'"
    return _filled("pipeline.yaml", schema=SCHEMA_NAME, model=quoted)


def workflow(system: System, file: str, out: str, stages: Sequence[str]) -> str:
    """Return a workflow that runs each stage of a pipeline file. Raises InputError for a name that needs quotes."""
    for name in (file, out):
        if not _PLAIN.fullmatch(name):
            raise InputError(
                f"{name!r} cannot stand in a workflow", hint="give a path of letters, digits and . _ - / only"
            )
    return {"github": _github, "gitlab": _gitlab, "jenkins": _jenkins}[system](file, out, stages)


def _github(file: str, out: str, stages: Sequence[str]) -> str:
    text = _filled("github-head.yml", file=file, out=out)
    for before, stage in zip([None, *stages], stages, strict=False):
        needs = f"    needs: {before}\n" if before else ""
        download = _DOWNLOAD.replace("@before", before) if before else ""
        text += _filled("github-job.yml", stage=stage, needs=needs, download=download, upload=_UPLOAD)
    return text


def _gitlab(file: str, out: str, stages: Sequence[str]) -> str:
    listed = "\n".join(f"  - {stage}" for stage in stages)
    head = _filled("gitlab-head.yml", file=file, out=out, stages=listed)
    return head + "".join(_filled("gitlab-job.yml", stage=stage, out=out) for stage in stages)


def _jenkins(file: str, out: str, stages: Sequence[str]) -> str:
    jobs = "".join(_filled("jenkins-job.txt", stage=stage) for stage in stages)
    return _filled("jenkins-head.txt", file=file, out=out) + jobs + _filled("jenkins-tail.txt", out=out)


def _filled(name: str, **words: str) -> str:
    """Return a file of this folder with @NAME replaced. `$` and `{{` belong to the CI systems."""
    text = files("edgehone.pipeline.ci").joinpath(name).read_text("utf-8")
    return re.sub(r"@(" + "|".join(words) + r")\b", lambda match: words[match[1]], text)


def write_new(contents: Mapping[Path, str]) -> None:
    """Write files that do not exist yet. Raises InputError before any is written if one of them does, with others."""
    for path, text in contents.items():
        own = path.name == SCHEMA_NAME  # an older one is replaced
        if path.is_symlink() or (path.exists() and not own and path.read_text("utf-8", "replace") != text):
            raise InputError(
                f"{path} exists already", hint=f"mv {shlex.quote(str(path))} elsewhere, or give another FILE"
            )
    for path, text in contents.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
        except OSError as error:
            raise SetupError(f"{path} cannot be written: {error.strerror}", hint="free some space") from error
