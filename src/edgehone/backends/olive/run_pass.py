"""Run one of Olive's passes (worker side)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgehone.core.errors import JobError


def run_pass(name: str, config: dict[str, Any], source: Any, target: Path) -> None:
    """Run one of Olive's passes from a file (or a model handler) to a file."""
    from olive.model import ONNXModelHandler
    from olive.package_config import OlivePackageConfig
    from olive.passes.olive_pass import create_pass_from_dict

    pass_class = OlivePackageConfig.load_default_config().import_pass_module(name)
    model = ONNXModelHandler(str(source)) if isinstance(source, Path) else source
    try:
        result = create_pass_from_dict(pass_class, config, disable_search=True).run(model, str(target))
    except Exception as error:
        root: BaseException = error
        while root.__cause__ is not None:
            root = root.__cause__
        raise JobError(f"Olive's {name} failed: {type(root).__name__}: {root}") from error
    if Path(result.model_path).resolve() != target.resolve() or not target.is_file():
        raise JobError(f"Olive's {name} did not change the graph")
