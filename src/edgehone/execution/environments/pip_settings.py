"""The user's settings of pip, handed on to uv, which reads neither pip's files nor its variables.

`pip config list` merges pip's files and PIP_* variables. Where no pip is installed, only the variables are read.
Settings that the user made for uv itself always win. Settings are handed on as environment variables, because a URL may
contain a password that does not belong in a list of processes or a log.
"""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgehone.core.errors import SetupError
from edgehone.execution.subprocesses import clean

# pip's option -> uv's variable, other names of that variable, and the separator of several values.
_UV_VARIABLES: Mapping[str, tuple[str, tuple[str, ...], str]] = {
    "index-url": ("UV_DEFAULT_INDEX", ("UV_INDEX_URL",), " "),
    "extra-index-url": ("UV_INDEX", ("UV_EXTRA_INDEX_URL",), " "),
    "find-links": ("UV_FIND_LINKS", (), ","),
    "trusted-host": ("UV_INSECURE_HOST", (), " "),
    "cert": ("SSL_CERT_FILE", (), ""),
    "client-cert": ("SSL_CLIENT_CERT", (), ""),
    "proxy": ("ALL_PROXY", ("HTTPS_PROXY", "https_proxy", "all_proxy"), ""),
}
_OPTIONS = (*_UV_VARIABLES, "no-index")
# The sections that `pip install` reads; a later one overrides an earlier one.
_SECTIONS = ("global", "install", ":env:")
_TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class PipSettings:
    """pip's options that matter to uv, by their names in pip, such as `index-url`."""

    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def no_index(self) -> bool:
        """Return True if pip must not use a package index. uv has no variable for this, only an argument."""
        return self.options.get("no-index", "").lower() in ("1", "true", "yes", "on")

    def uv_variables(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return the variables to add to `environment` so that uv looks for packages where pip would."""
        variables = {}
        for option, (name, other_names, separator) in _UV_VARIABLES.items():
            value = self.options.get(option, "")
            if not any(environment.get(known) for known in (name, *other_names)):
                variables[name] = separator.join(_values(option, value)) if separator else value
        if variables.get("UV_INDEX") and not environment.get("UV_INDEX_STRATEGY"):
            # pip takes the best version of all indexes; uv would stop at the first index that has the package.
            variables["UV_INDEX_STRATEGY"] = "unsafe-best-match"
        return {name: value for name, value in variables.items() if value}


def read_pip_settings(environment: Mapping[str, str]) -> PipSettings:
    """Read the settings of the pip that the user would run with these environment variables.

    Raises SetupError, in pip's words, if pip cannot read one of its configuration files.
    """
    for command in _pip_commands(environment):
        try:
            done = subprocess.run(
                [*command, "config", "list"],
                env=clean(environment),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SetupError(f"pip's settings cannot be read: {error}", hint=" ".join(command)) from error
        if done.returncode == 0:
            return PipSettings(parse(done.stdout))
        if "No module named pip" not in done.stderr:
            # Indented lines quote the file, which may contain a password.
            lines = [line for line in done.stderr.splitlines() if line[:1].strip()]
            raise SetupError(
                f"pip's settings cannot be read: {' '.join(lines)[:500]}",
                hint=f"correct the file; {' '.join(command)} config debug lists all of them",
            )
    return PipSettings(_from_variables(environment))


def _pip_commands(environment: Mapping[str, str]) -> list[list[str]]:
    """Return candidates for pip: of this interpreter, of the one that its venv was made from, on the PATH."""
    interpreters = dict.fromkeys((sys.executable, getattr(sys, "_base_executable", sys.executable)))
    commands = [[interpreter, "-P", "-m", "pip"] for interpreter in interpreters if interpreter]
    on_path = [shutil.which(name, path=environment.get("PATH")) for name in ("pip", "pip3")]
    return commands + [[path] for path in on_path if path]


def parse(listing: str) -> dict[str, str]:
    """Return the options in the output of `pip config list`: lines like `global.index-url='https://…'`."""
    sections: dict[str, dict[str, str]] = {section: {} for section in _SECTIONS}
    for line in listing.splitlines():
        key, _, text = line.partition("=")
        section, _, option = key.rpartition(".")
        if section in sections and option in _OPTIONS:
            sections[section][option] = _literal(text)
    return {option: value for section in _SECTIONS for option, value in sections[section].items()}


def _literal(text: str) -> str:
    try:
        return str(ast.literal_eval(text))
    except (SyntaxError, ValueError):
        return text


def _from_variables(environment: Mapping[str, str]) -> dict[str, str]:
    names = {option: "PIP_" + option.upper().replace("-", "_") for option in _OPTIONS}
    return {option: environment[name] for option, name in names.items() if environment.get(name)}


def _values(option: str, value: str) -> list[str]:
    """Split an option into its values, without missing folders of find-links, which pip ignores but uv refuses."""
    values = value.split()
    if option != "find-links":
        return values
    return [one for one in values if "://" in one or Path(one).expanduser().exists()]
