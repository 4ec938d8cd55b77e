"""Read the bytecode of modules from one file, where Python looks for each of them in several folders.

A server imports some 600 modules before it is ready, and its other processes import many of them again. `write` copies
the bytecode that was compiled when the image was built; `use` lets a process take it from there. A copy of this file is
in the image as `edgehone_modules`, which a .pth file uses at the start of every process, before anything of edgehone
can be imported, so it imports what Python itself has imported by then. A module that is not in the file is found as
usual. The module `dataclasses` then takes the methods that `methods.py` has compiled.
"""

from __future__ import annotations

import builtins
import marshal
import os
import sys
from importlib.machinery import ModuleSpec, SourceFileLoader

TYPE_CHECKING = False  # without typing, which is one of the modules in the file
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import CodeType, ModuleType
    from typing import Any, TypeAlias

    # The file of the source, whether it is a package, and where its bytecode begins and how long it is.
    Entry: TypeAlias = tuple[str, bool, int, int]

NAME, METHODS = "modules.bin", "methods.bin"
# What precedes the code in a .pyc file, and the number of bytes that hold the size of the table here.
_PYC_HEADER, _SIZE = 16, 8


def write(file: str, names: Sequence[str]) -> None:
    """Write the bytecode of those of these imported modules that were compiled from a source and stored."""
    table: dict[str, Entry] = {}
    contents: list[bytes] = []
    start = 0
    for name in sorted(names):
        spec = getattr(sys.modules[name], "__spec__", None)
        if spec is None or spec.name != name or not isinstance(spec.loader, SourceFileLoader):
            continue
        if not spec.cached or not os.path.isfile(spec.cached):  # noqa: PTH113 - pathlib is in the file
            continue
        with open(spec.cached, "rb") as compiled:  # noqa: PTH123
            content = compiled.read()[_PYC_HEADER:]
        table[name] = (spec.origin, spec.submodule_search_locations is not None, start, len(content))
        contents.append(content)
        start += len(content)
    head = marshal.dumps(table, 2)  # the last format that does not depend on who else refers to an object
    with open(file, "wb") as out:  # noqa: PTH123
        out.write(len(head).to_bytes(_SIZE, "little") + head + b"".join(contents))


def use(file: str = "") -> None:
    """Take modules from the file, by default from that of the environment; nothing happens without one."""
    file = file or f"{sys.prefix}/{NAME}"
    try:
        handle = os.open(file, os.O_RDONLY)
    except FileNotFoundError:
        return
    size = int.from_bytes(os.pread(handle, _SIZE, 0), "little")
    table = marshal.loads(os.pread(handle, size, _SIZE))
    sys.meta_path.insert(0, _Finder(os.path.dirname(file), handle, _SIZE + size, table))  # noqa: PTH120


def use_methods(dataclasses: ModuleType, file: str) -> None:
    """Let the module `dataclasses` take methods of classes from a file, where their text is in it."""
    with open(file, "rb") as content:  # noqa: PTH123
        compiled: dict[str, bytes] = marshal.loads(content.read())

    def run(text: str, own: dict[str, Any] | None = None, names: dict[str, Any] | None = None) -> None:
        builtins.exec(marshal.loads(compiled[text]) if text in compiled else text, own, names)

    vars(dataclasses)["exec"] = run


class _Finder:
    """Finds the modules of the file that is open as `handle`, in which bytecode begins at `start`."""

    def __init__(self, folder: str, handle: int, start: int, table: Mapping[str, Entry]) -> None:
        self.folder, self.handle, self.start, self.table = folder, handle, start, table

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the module's spec, as Python's own finder does, with another way to its bytecode."""
        entry = self.table.get(name)
        if entry is None:
            return None
        origin, is_package = entry[:2]
        spec = ModuleSpec(name, _Loader(name, origin, self, entry), origin=origin, is_package=is_package)
        spec.has_location = True  # so that the module has a __file__
        if is_package:
            spec.submodule_search_locations = [os.path.dirname(origin)]  # noqa: PTH120
        return spec


class _Loader(SourceFileLoader):
    """Loads a module with the bytecode of the file. Its source is read as usual by whoever asks for it."""

    def __init__(self, name: str, path: str, finder: _Finder, entry: Entry) -> None:
        super().__init__(name, path)
        self._finder, self._at = finder, entry[2:]

    def exec_module(self, module: ModuleType) -> None:
        """Run the module; `dataclasses` gets the methods."""
        super().exec_module(module)
        methods = f"{self._finder.folder}/{METHODS}"
        if module.__name__ == "dataclasses" and os.path.isfile(methods):  # noqa: PTH113
            use_methods(module, methods)

    def get_code(self, fullname: str) -> CodeType:
        """Return the code of the module."""
        start, length = self._at
        code: CodeType = marshal.loads(os.pread(self._finder.handle, length, self._finder.start + start))
        return code
