"""What the documents of OpenVINO Model Server say of its configuration: config.json, and the messages of graph.pbtxt.

config.json is read strictly, as the server does: an unknown key is an error. graph.pbtxt is parsed by protobuf's text
format with these messages, so that a misspelt field or a value of another type is an error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgehone.core import typed_json
from edgehone.core.typed_json import OPTIONAL

# Message → field → type; a list is a repeated field. Capital letters begin the name of another message.
_MESSAGES: Mapping[str, Mapping[str, Any]] = {
    "CalculatorGraphConfig": {"input_stream": ["string"], "output_stream": ["string"], "node": ["Node"]},
    "Node": {
        "name": "string",
        "calculator": "string",
        "input_stream": ["string"],
        "output_stream": ["string"],
        "input_side_packet": ["string"],
        "input_stream_info": ["InputStreamInfo"],
        "node_options": ["google.protobuf.Any"],
        "input_stream_handler": "InputStreamHandlerConfig",
    },
    "InputStreamInfo": {"tag_index": "string", "back_edge": "bool"},
    "InputStreamHandlerConfig": {"input_stream_handler": "string", "options": "MediaPipeOptions"},
    "MediaPipeOptions": {},
    "SyncSetInputStreamHandlerOptions": {"sync_set": ["SyncSet"]},
    "SyncSet": {"tag_index": ["string"]},
    "LLMCalculatorOptions": {
        "models_path": "string",
        "max_num_batched_tokens": "uint64",
        "cache_size": "uint64",
        "max_num_seqs": "uint64",
        "dynamic_split_fuse": "bool",
        "device": "string",
        "plugin_config": "string",
        "best_of_limit": "uint32",
        "max_tokens_limit": "uint32",
        "enable_prefix_caching": "bool",
        "pipeline_type": "PipelineType",
    },
}
_PIPELINES = ("LM", "VLM", "LM_CB", "VLM_CB", "AUTO")
_PACKAGE = "mediapipe"


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """An entry of config.json: a graph in version folders, or a folder with graph.pbtxt."""

    name: str
    base_path: str
    target_device: str | None = field(default=None, metadata=OPTIONAL)
    plugin_config: Mapping[str, str | bool | int | float] | None = field(default=None, metadata=OPTIONAL)
    nireq: int | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True)
class Entry:
    """An element of model_config_list."""

    config: ModelConfig


@dataclass(frozen=True)
class Config:
    """config.json."""

    model_config_list: tuple[Entry, ...]


def read_config(path: Path) -> Config:
    """Return the configuration. Raises InputError for what the server would refuse."""
    return typed_json.read(Config, json.loads(path.read_text("utf-8")), str(path), hint="report it")


def parse_graph(text: str) -> Any:
    """Return the graph's message. Raises google.protobuf.text_format.ParseError; ImportError without protobuf."""
    from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory, text_format

    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(any_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(_file(descriptor_pb2).SerializeToString())
    kind = message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.CalculatorGraphConfig"))
    return text_format.Parse(text, kind(), descriptor_pool=pool)


def _file(pb: Any) -> Any:
    """Return the descriptor of a file with all messages."""
    file = pb.FileDescriptorProto(
        name="documented.proto", package=_PACKAGE, syntax="proto2", dependency=["google/protobuf/any.proto"]
    )
    file.enum_type.add(name="PipelineType").value.extend(
        pb.EnumValueDescriptorProto(name=name, number=at) for at, name in enumerate(_PIPELINES)
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, (one, kind) in enumerate(fields.items(), 1):
            _add(pb, message.field, one, number, kind)
        if name == "MediaPipeOptions":
            message.extension_range.add(start=1, end=1 << 29)
        if name == "SyncSetInputStreamHandlerOptions":
            _add(pb, message.extension, "ext", 1, name)
            message.extension[0].extendee = f".{_PACKAGE}.MediaPipeOptions"
    return file


def _add(pb: Any, fields: Any, name: str, number: int, kind: Any) -> None:
    types = pb.FieldDescriptorProto
    one = fields.add(name=name, number=number, label=types.LABEL_OPTIONAL)
    if isinstance(kind, list):
        (kind,), one.label = kind, types.LABEL_REPEATED
    if kind.islower() and "." not in kind:
        one.type = getattr(types, f"TYPE_{kind.upper()}")
        return
    one.type = types.TYPE_ENUM if kind == "PipelineType" else types.TYPE_MESSAGE
    one.type_name = f".{kind}" if "." in kind else f".{_PACKAGE}.{kind}"
