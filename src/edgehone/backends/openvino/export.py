"""Export Hugging Face models to IR with optimum-intel (worker side)."""

from __future__ import annotations

from pathlib import Path


def export_ir(
    model: Path, out: Path, task: str, *, dtype: str = "fp16", tokenizer: bool = True, **shapes: int
) -> None:
    """Export the model in the folder `model` to IR files in `out`, without network access and remote code.

    `task` is a task of optimum, `tokenizer` tells whether the tokenizer is converted too, `shapes` are
    sizes of the example that is traced, by optimum's names. Exceptions of the exporter pass through.
    """
    from optimum.exporters.openvino import main_export
    from optimum.intel import OVConfig

    main_export(
        str(model),
        str(out),
        task=task,
        library_name="transformers",
        local_files_only=True,
        trust_remote_code=False,
        convert_tokenizer=tokenizer,
        ov_config=OVConfig(dtype=dtype),
        **shapes,
    )
