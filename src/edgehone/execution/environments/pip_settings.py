"""Where pip would look for packages, in uv's words: uv reads neither pip's files nor its variables.

What the user has told uv itself always wins. Everything is handed on as environment variables, since a URL
may hold a password that does not belong in a process list or a log.
"""

from __future__ import annotations

import configparser
import os
import sys
from collections.abc import Mapping
from pathlib import Path

# pip's option -> uv's variable, uv's other names for it, and what joins several values.
HANDED_ON: Mapping[str, tuple[str, tuple[str, ...], str]] = {
    "index-url": ("UV_DEFAULT_INDEX", ("UV_INDEX_URL",), " "),
    "extra-index-url": ("UV_INDEX", ("UV_EXTRA_INDEX_URL",), " "),
    "find-links": ("UV_FIND_LINKS", (), ","),
    "trusted-host": ("UV_INSECURE_HOST", (), " "),
    "cert": ("SSL_CERT_FILE", (), ""),
    "client-cert": ("SSL_CLIENT_CERT", (), ""),
    "proxy": ("ALL_PROXY", ("HTTPS_PROXY", "https_proxy", "all_proxy"), ""),
}
_OPTIONS = (*HANDED_ON, "no-index")
# The sections that `pip install` reads, the later the stronger.
SECTIONS = ("global", "install")


def uv_variables(environment: Mapping[str, str], prefix: Path = Path(sys.prefix)) -> dict[str, str]:
    """The variables to add for uv to find what pip would; `prefix` is where a pip.conf of the venv lies."""
    variables = {}
    told = read(environment, prefix)
    for option in HANDED_ON.keys() & told.keys():
        value = told[option]
        name, others, joint = HANDED_ON[option]
        if not any(environment.get(known) for known in (name, *others)):
            variables[name] = joint.join(_parts(option, value)) if joint else value
    if "UV_INDEX" in variables and not environment.get("UV_INDEX_STRATEGY"):
        # pip takes the best of all indexes; uv would stop at the first that knows the name.
        variables["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return {name: value for name, value in variables.items() if value}


def no_index(environment: Mapping[str, str], prefix: Path = Path(sys.prefix)) -> bool:
    """Whether pip is told to ask no index at all, which uv takes as an argument only."""
    return read(environment, prefix).get("no-index", "").lower() in ("1", "true", "yes", "on")


def read(environment: Mapping[str, str], prefix: Path) -> dict[str, str]:
    """pip's options that matter to uv, from its files and variables, the strongest of each."""
    found: dict[str, dict[str, str]] = {section: {} for section in SECTIONS}
    for file in files(environment, prefix):
        for section, options in _parse(file).items():
            found[section].update(options)
    told = {
        option: environment[name]
        for option in _OPTIONS
        if environment.get(name := "PIP_" + option.upper().replace("-", "_"))
    }
    return {**found["global"], **found["install"], **told}


def files(environment: Mapping[str, str], prefix: Path) -> list[Path]:
    """pip's configuration files in its order, the strongest last; whether they are there or not."""
    given = environment.get("PIP_CONFIG_FILE")
    if given == os.devnull:
        return []
    user = Path(environment.get("HOME") or Path.home())
    if sys.platform == "win32":
        places = [Path(environment.get("PROGRAMDATA", "C:/ProgramData")) / "pip"]
        places += [user / "pip", Path(environment.get("APPDATA", user)) / "pip"]
        name = "pip.ini"
    else:
        name = "pip.conf"
        shared = environment.get("XDG_CONFIG_DIRS") or "/etc/xdg"
        own = Path(environment.get("XDG_CONFIG_HOME") or user / ".config")
        places = [*(Path(place) / "pip" for place in reversed(shared.split(":")) if place), Path("/etc")]
        if sys.platform == "darwin":
            places = [Path("/Library/Application Support/pip"), Path("/etc")]
            library = user / "Library" / "Application Support" / "pip"
            own = library.parent if library.is_dir() else own
        places += [user / ".pip", own / "pip"]
    named = [place / name for place in (*places, prefix)]
    return [*named, Path(given)] if given else named


def _parse(file: Path) -> dict[str, dict[str, str]]:
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, configparser.Error):
        # Not there, not readable or no configuration: pip says so itself to whoever uses pip.
        return {}
    return {
        section: {
            option: value
            for name, value in parser.items(section)
            if (option := name.replace("_", "-").removeprefix("--")) in _OPTIONS
        }
        for section in SECTIONS
        if parser.has_section(section)
    }


def _parts(option: str, value: str) -> list[str]:
    """The single values; find-links that are gone are left out, as pip does, where uv would stop."""
    parts = value.split()
    if option != "find-links":
        return parts
    return [part for part in parts if "://" in part or Path(part).expanduser().exists()]
