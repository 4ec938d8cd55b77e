"""Read a small YAML file that somebody else wrote, within bounds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.core.errors import InputError, SetupError

if TYPE_CHECKING:
    from yaml import SafeLoader

_LARGEST = 1 << 18  # bytes; a deployment file has about 1,000
_DEEPEST = 16


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file: dicts, lists, strings, numbers, booleans, None.

    Raises InputError if it is not one YAML document of at most 256 KiB, is nested deeper than 16, or has aliases (few
    bytes with them can stand for gigabytes) or a key twice; SetupError if PyYAML is not installed.
    """
    try:
        import yaml
    except ImportError as error:
        raise SetupError(
            "reading YAML files needs the package PyYAML", hint='pip install "edgehone[package]"'
        ) from error
    hint = "see docs/package.md for the form of a deployment file"
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise InputError(f"{path} is larger than {_LARGEST >> 10} KiB", hint=hint)
        return yaml.load(content.decode(), Loader=_loader())
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror or error}", hint="give a YAML file"
        ) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is not YAML: {' '.join(str(error).split())}", hint=hint) from error


def yaml_of(text: str, where: str) -> Any:
    """Return the value that a short text of YAML is; `where` names it. Raises InputError if it is none."""
    import yaml

    try:
        return yaml.load(text[:_LARGEST], Loader=_loader())
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{where} is not YAML: {' '.join(str(error).split())}", hint="quote it") from error


def _loader() -> type[SafeLoader]:
    import yaml

    class Loader(yaml.SafeLoader):
        """PyYAML's safe loader, without aliases, duplicate keys and deep nesting."""

        depth = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                event: Any = self.peek_event()  # type: ignore[no-untyped-call]
                raise yaml.YAMLError(f"it has the alias *{event.anchor}, and aliases are not read")
            self.depth += 1
            if self.depth > _DEEPEST:
                raise yaml.YAMLError(f"it is nested deeper than {_DEEPEST}")
            node = super().compose_node(parent, index)
            self.depth -= 1
            return node

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            names = [key.value for key, _ in node.value if isinstance(key.value, str)]
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise yaml.YAMLError(f"it has the key {twice[0]} twice (line {node.start_mark.line + 1})")
            return super().construct_mapping(node, deep)

    return Loader
