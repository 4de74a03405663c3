"""Google's protobuf implementation of our schema, as the reference."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.message import Message
from grpc_tools import protoc

SPEC = Path(__file__).parents[3] / "spec"


@functools.cache
def compiled() -> FileDescriptor:
    """Compile spec/imfast.proto."""
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory) / "imfast.bin"
        status = protoc.main(
            ["protoc", f"-I{SPEC}", f"--descriptor_set_out={output}", str(SPEC / "imfast.proto")]
        )
        assert status == 0
        files = descriptor_pb2.FileDescriptorSet.FromString(output.read_bytes())
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(files.file[0].SerializeToString())
    return pool.FindFileByName(files.file[0].name)


def new(name: str) -> Any:
    """Make an empty message; nested ones are named ``Outer.Inner``."""
    outer, _, inner = name.partition(".")
    descriptor = compiled().message_types_by_name[outer]
    if inner:
        descriptor = descriptor.nested_types_by_name[inner]
    return message_factory.GetMessageClass(descriptor)()


def parse(name: str, data: bytes) -> Any:
    """Parse `data`; raises google.protobuf.message.DecodeError."""
    message: Message = new(name)
    message.ParseFromString(data)
    return message
