"""A real Triton Inference Server: nvidia-pytriton's, in an environment of its own, as a `tritonserver` on the PATH."""

from __future__ import annotations

import os
import shutil
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgehone.backends.base import Needs
from edgehone.execution.environments import environment

NEEDS = Needs(lock=Path(__file__).with_name("triton_lock.txt"), versions=("nvidia-pytriton",))
# The Python backend's stub is linked with Python's library, and its packages are those of the `python3` on the PATH.
_SCRIPT = """#!/bin/sh
export LD_LIBRARY_PATH="{libraries}" PATH="{programs}:$PATH" PYTHONDONTWRITEBYTECODE=1
exec "{own}/bin/tritonserver" --backend-directory="{backends}" "$@"
"""


@pytest.fixture(scope="module")
def tritonserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a `tritonserver` that is first on the PATH meanwhile. It has the Python backend only."""
    env = environment.ensure("triton", NEEDS, print)
    packages = next(env.python.parent.parent.glob("lib/python3*/site-packages"))
    own = packages / "pytriton" / "tritonserver"
    place = tmp_path_factory.mktemp("triton")
    backend = place / "backends" / "python"
    shutil.copytree(own / "backends" / "python", backend)
    version = packages.parent.name.removeprefix("python")
    shutil.copy2(own / "python_backend_stubs" / version / "triton_python_backend_stub", backend)
    for path in (backend / "triton_python_backend_stub", own / "bin" / "tritonserver"):
        path.chmod(0o755)
    script = place / "bin" / "tritonserver"
    script.parent.mkdir()
    libraries = f"{packages / 'nvidia_pytriton.libs'}:{sysconfig.get_config_var('LIBDIR')}"
    script.write_text(
        _SCRIPT.format(libraries=libraries, programs=env.python.parent, own=own, backends=backend.parent)
    )
    script.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")
        yield script.parent
