"""Client of a Schema Registry with Confluent's HTTP API (Confluent, Karapace, Apicurio's ccompat).

GET /schemas/ids/{id}                        a schema by its id
GET /schemas/guids/{guid}                    a schema by its GUID
GET /subjects/{subject}/versions/{version}   a schema that another one refers to
"""

from __future__ import annotations

from base64 import b64encode
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

import msgspec

from gateway.files import client_tls
from gateway.outgoing import AnswerTooLarge, Exchange, NoAnswer, answer
from gateway.schemas.errors import InvalidSchema, RegistryUnavailable, UnknownSchema
from gateway.secret_file import ReloadingSecret

if TYPE_CHECKING:
    import ssl

    from gateway.config import Settings
    from gateway.schemas.framing import SchemaId

REQUEST_SECONDS = 3.0
"""Timeout of one request; a registry answers in milliseconds."""

MAX_BYTES = 4_194_304
"""Upper bound of a response. Large schemas have some 100,000 bytes."""

MAX_REFERENCES = 200
"""Upper bound of the schemas to which a schema refers, directly and indirectly."""

_NOT_FOUND = 404


class Reference(msgspec.Struct):
    """A name in a schema that stands for a version of another schema."""

    name: str
    subject: str
    version: int


class Found(msgspec.Struct, rename="camel"):
    """A schema as the registry returns it."""

    schema: str
    schema_type: str = "AVRO"
    references: list[Reference] | None = None


class RegisteredSchema(NamedTuple):
    """A schema, and the schemas that it refers to by name, in the order of their dependencies."""

    kind: str
    """`AVRO`, `PROTOBUF` or `JSON`."""
    text: str
    references: dict[str, str]


class RegistryClient:
    """Fetches schemas, with one connection for each request.

    Raises `SettingsError` for certificates that cannot be loaded.
    """

    def __init__(self, settings: Settings) -> None:
        self.url = (settings.schema_registry_url or "").rstrip("/")
        self._username = settings.schema_registry_username
        self._password = _secret(settings, "schema_registry_password")
        self._token = _secret(settings, "schema_registry_token")
        self._tls = _tls(settings)

    async def fetch(self, schema: SchemaId) -> RegisteredSchema:
        """Return a schema with all that it refers to.

        Raises `UnknownSchema`, `InvalidSchema` and `RegistryUnavailable`.
        """
        path = f"/schemas/ids/{schema}" if isinstance(schema, int) else f"/schemas/guids/{schema}"
        found = await self._get(path)
        texts: dict[str, str] = {}
        await self._add_references(found, texts, frozenset())
        return RegisteredSchema(found.schema_type, found.schema, texts)

    async def probe(self) -> None:
        """Send one request. Raises `RegistryUnavailable` unless it is answered."""
        with suppress(UnknownSchema, InvalidSchema):  # any answer will do
            await self._read("/schemas/types")

    async def _add_references(
        self, found: Found, texts: dict[str, str], around: frozenset[tuple[str, int]]
    ) -> None:
        for each in found.references or ():
            place = (each.subject, each.version)
            if place in around:
                raise InvalidSchema("the schema refers to itself")
            if each.name in texts:
                continue
            if len(texts) >= MAX_REFERENCES:
                raise InvalidSchema(f"the schema refers to more than {MAX_REFERENCES} others")
            try:
                other = await self._get(
                    f"/subjects/{quote(each.subject, safe='')}/versions/{each.version}"
                )
            except UnknownSchema:
                raise InvalidSchema(
                    f"the registry lacks version {each.version} of {each.subject[:100]!r}, to which"
                    " the schema refers"
                ) from None
            await self._add_references(other, texts, around | {place})
            texts[each.name] = other.schema

    async def _get(self, path: str) -> Found:
        document = await self._read(path)
        try:
            return msgspec.json.decode(document, type=Found)
        except (msgspec.DecodeError, ValueError, RecursionError):
            raise RegistryUnavailable("its answer is not a schema: check the URL") from None

    async def _read(self, path: str) -> bytes:
        """Return the body of a response. Raises `UnknownSchema` and `RegistryUnavailable`."""
        headers = {"Accept": "application/vnd.schemaregistry.v1+json, application/json"}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token()}"
        elif self._username is not None and self._password is not None:
            login = f"{self._username}:{self._password()}".encode()
            headers["Authorization"] = f"Basic {b64encode(login).decode()}"
        exchange = Exchange(self.url + path, REQUEST_SECONDS, MAX_BYTES, headers, tls=self._tls)
        try:
            status, document = await answer(exchange)
        except AnswerTooLarge:
            raise InvalidSchema(f"the schema has more than {MAX_BYTES} bytes") from None
        except NoAnswer as error:
            raise RegistryUnavailable(str(error)) from None
        if status == _NOT_FOUND:
            raise UnknownSchema("the registry does not have it")
        if status != 200:
            raise RegistryUnavailable(_advice(status))
        return document


def _advice(status: int) -> str:
    if status in {401, 403}:
        return (
            f"it answers {status}: check GATEWAY_SCHEMA_REGISTRY_USERNAME and _PASSWORD, or _TOKEN"
        )
    if 300 <= status < 400:
        return f"it redirects ({status}): set the URL at which it answers"
    return f"it answers {status}"


def _secret(settings: Settings, name: str) -> ReloadingSecret | None:
    return None if getattr(settings, name) is None else ReloadingSecret(settings, name)


def _tls(settings: Settings) -> ssl.SSLContext:
    return client_tls(
        "GATEWAY_SCHEMA_REGISTRY",
        settings.schema_registry_cafile,
        settings.schema_registry_certfile,
        settings.schema_registry_keyfile,
    )
