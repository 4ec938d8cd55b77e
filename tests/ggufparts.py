"""A GGUF file in several files, as hubs have large ones."""

from __future__ import annotations

from pathlib import Path

import gguf


def split(source: Path, folder: Path, tensors: int) -> Path:
    """Write a file's tensors to files of so many in `folder`; return the first of them."""
    reader = gguf.GGUFReader(source)
    architecture = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(folder / "model.gguf", architecture, split_max_tensors=tensors)
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        kind = field.types[0]
        inner = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), kind, inner)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return sorted(folder.glob("model-00001-of-*.gguf"))[0]


def tensors(path: Path) -> dict[str, bytes]:
    """Return the bytes of a file's tensors by their names."""
    return {one.name: one.data.tobytes() for one in gguf.GGUFReader(path).tensors}
