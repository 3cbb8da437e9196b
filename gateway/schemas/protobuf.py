"""Protobuf: compile a schema, and read messages as ProtoJSON.

Google's `protoc` compiles schemas in a separate process: if a schema makes it fail or keeps it
busy, only that schema is unavailable. `google.protobuf` reads messages and renders them as its JSON
mapping defines:

    Protobuf                        | JSON
    --------------------------------+-----------------------------------------------------------
    field names                     | lowerCamelCase, or `json_name`
    a field without presence        | present, also with its default value
    an unset message, oneof member  | absent
    or `optional` field             |
    int64, uint64, fixed64, …       | text
    float, double                   | number; "NaN", "Infinity", "-Infinity"
    bytes                           | base64
    enum                            | the name of the value; its number if it has no name
    map; repeated                   | object; array
    Timestamp, Duration, FieldMask, | text; number, text or boolean; JSON values
    wrappers, Struct, Value, Any    |

Unknown fields are left out.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import tempfile
from base64 import b64decode
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from google.protobuf import json_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from gateway.schemas.errors import InvalidSchema, Malformed, TooLarge

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from google.protobuf.descriptor import Descriptor

MAIN = "schema.proto"
"""File name of a schema, which has none in the registry."""

COMPILE_SECONDS = 10.0
"""Timeout of the compiler, which takes 0.1 s to 0.5 s."""

_ERROR_CHARACTERS = 300

_SMALL = 16_384
"""Bytes of a message up to which its JSON is small enough, whatever its schema."""

_FILE_NAME = re.compile(r"(?:\w[\w.-]*/)*\w[\w.-]*", re.ASCII)


class ProtobufSchema:
    """A compiled schema: the message types of one file."""

    def __init__(self, files: Sequence[FileDescriptorProto], main: str) -> None:
        """Load files, imported files first. Raises `InvalidSchema`."""
        self.files = tuple(files)
        self.pool = DescriptorPool()
        self._main = next(file for file in files if file.name == main)
        try:
            for file in files:
                self.pool.Add(file)
            self.pool.FindFileByName(main)
        except (TypeError, KeyError) as error:
            raise InvalidSchema(f"the schema is invalid: {_short(str(error))}") from None
        self._types: dict[tuple[int, ...], type[Message]] = {}
        self._costs: dict[str, int] = {}
        """The least size in JSON of a message, by its type."""

    def json(self, payload: bytes, path: tuple[int, ...], most: int) -> bytes:
        """Return a message as JSON of at most `most` bytes; `path` selects its type.

        Raises `Malformed`, and `TooLarge`.
        """
        type_ = self._types.get(path)
        if type_ is None:
            type_ = self._types[path] = GetMessageClass(self._type(path))
        try:
            message = type_.FromString(payload)
            if len(payload) > _SMALL:
                self._spend(message, most)
            value = json_format.MessageToDict(
                message, always_print_fields_with_no_presence=True, descriptor_pool=self.pool
            )
        except DecodeError:
            raise Malformed("the value is not a message of this type") from None
        except (json_format.Error, ValueError, TypeError, OverflowError) as error:
            raise Malformed(
                f"the message cannot be converted to JSON: {type(error).__name__},"
                " for example a Timestamp beyond the year 9999 or an Any of an unknown type"
            ) from None
        text = msgspec.json.encode(value)
        if len(text) > most:
            raise TooLarge("its JSON is larger than a record may be")
        return text

    def _spend(self, message: Message, room: int) -> int:
        """Return `room` less a lower bound of the size of the message's JSON.

        An empty message takes two bytes, and each of its fields has a name and a value in JSON.
        Raises `TooLarge`.
        """
        type_ = message.DESCRIPTOR
        cost = self._costs.get(type_.full_name)
        if cost is None:
            names = [field.json_name for field in type_.fields if not field.has_presence]
            cost = self._costs[type_.full_name] = 2 + sum(len(name) + 5 for name in names)
        room -= cost
        if room < 0:
            raise TooLarge("its JSON is larger than a record may be")
        for field, value in message.ListFields():
            if field.message_type is None:
                continue
            if not field.is_repeated:
                room = self._spend(value, room)
            elif not field.message_type.GetOptions().map_entry:
                for each in value:
                    room = self._spend(each, room)
            elif field.message_type.fields_by_name["value"].message_type is not None:
                for each in value.values():
                    room = self._spend(each, room)
        return room

    def _type(self, path: tuple[int, ...]) -> Descriptor:
        names = []
        types: Any = self._main.message_type
        for index in path:
            if not 0 <= index < len(types):
                raise Malformed("the schema has no message type at this path")
            names.append(types[index].name)
            # As in Java, the types that stand for the entries of maps do not count.
            types = [each for each in types[index].nested_type if not each.options.map_entry]
        package = [self._main.package] if self._main.package else []
        return self.pool.FindMessageTypeByName(".".join([*package, *names]))


async def compile_schema(text: str, references: Mapping[str, str]) -> ProtobufSchema:
    """Compile a schema; `references` are the files that it imports, by name.

    Each is the text of a file, or a descriptor in base64, as some serialisers register it. Raises
    `InvalidSchema`.
    """
    texts: dict[str, str] = {}
    described: dict[str, FileDescriptorProto] = {}
    main = MAIN
    for name, content in [*references.items(), (MAIN, text)]:
        descriptor = _descriptor(content)
        if descriptor is None:
            texts[name] = content
        elif name == MAIN:
            main = descriptor.name = descriptor.name or MAIN
            described[main] = descriptor
        else:
            descriptor.name = name
            described[name] = descriptor
    imported = [name for file in described.values() for name in file.dependency]
    for name in (*texts, *imported):
        if not _FILE_NAME.fullmatch(name):
            raise InvalidSchema(f"a reference has an invalid file name: {name[:100]!r}")
    needed = set(imported) - described.keys()
    if MAIN in texts:
        needed.add(MAIN)
    compiled = await _protoc(texts, sorted(needed)) if needed else FileDescriptorSet()
    files = {file.name: file for file in compiled.file}
    return ProtobufSchema([*files.values(), *_sorted(described)], main)


def _descriptor(content: str) -> FileDescriptorProto | None:
    """Return the file that `content` describes in base64; None if it is the text of a file."""
    with suppress(ValueError, DecodeError):
        return FileDescriptorProto.FromString(b64decode(content, validate=True))
    return None


def _sorted(files: Mapping[str, FileDescriptorProto]) -> list[FileDescriptorProto]:
    """Return files, imported files first."""
    order: dict[str, FileDescriptorProto] = {}
    open_files: set[str] = set()

    def add(name: str) -> None:
        if name in open_files:
            raise InvalidSchema("the schema imports itself")
        if name not in order and name in files:
            open_files.add(name)
            for each in files[name].dependency:
                add(each)
            open_files.remove(name)
            order[name] = files[name]

    for name in files:
        add(name)
    return list(order.values())


async def _protoc(texts: Mapping[str, str], names: Sequence[str]) -> FileDescriptorSet:
    """Return the files of `names` and all that they import, each after its imports."""
    with tempfile.TemporaryDirectory(prefix="gateway-schema-") as folder:
        await asyncio.to_thread(_write, folder, texts)
        output = Path(folder, ".compiled")
        # grpc_tools adds the folder with Google's own files.
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "grpc_tools.protoc"),
            *(f"-I{each}" for each in (folder, _OWN, *_common())),
            *("--include_imports", f"--descriptor_set_out={output}", *names),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(COMPILE_SECONDS):
                _, errors = await process.communicate()
        except TimeoutError:
            raise InvalidSchema(f"it is not compiled within {COMPILE_SECONDS:g} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0:
            lines = errors.decode(errors="replace").replace(f"{folder}{os.sep}", "").splitlines()
            found = "; ".join(line for line in lines if ".proto" in line) or "protoc failed"
            raise InvalidSchema(f"the schema cannot be compiled: {_short(found)}")
        return FileDescriptorSet.FromString(await asyncio.to_thread(output.read_bytes))


_OWN = Path(__file__).parent / "protos"


def _write(folder: str, texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _common() -> list[Path]:
    """Return the folder with Google's common types, such as `google/type/money.proto`."""
    found = find_spec("google.type")
    places = [] if found is None else found.submodule_search_locations or []
    return [Path(each).parent.parent for each in places]


def _short(text: str) -> str:
    return text if len(text) <= _ERROR_CHARACTERS else f"{text[:_ERROR_CHARACTERS]}…"
