"""Compiles registered schemas."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.schemas.avro import AvroSchema
from gateway.schemas.errors import InvalidSchema

if TYPE_CHECKING:
    from gateway.schemas.protobuf import ProtobufSchema
    from gateway.schemas.registry import RegisteredSchema


async def compiled(found: RegisteredSchema) -> AvroSchema | ProtobufSchema:
    """Compile a schema. Raises `InvalidSchema`."""
    if found.kind == "AVRO":
        # Of a large schema, that takes longer than the event loop may be held.
        return await asyncio.to_thread(AvroSchema, found.text, list(found.references.values()))
    if found.kind == "PROTOBUF":
        try:
            from gateway.schemas.protobuf import compile_schema
        except ImportError:
            raise InvalidSchema("Protobuf needs the extra `schemas`") from None
        return await compile_schema(found.text, found.references)
    raise InvalidSchema(f"it is of the type {found.kind[:20]}, which is not Avro or Protobuf")
