from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest

from gateway.config import load_settings
from gateway.errors import SettingsError
from gateway.schemas import registry as module
from gateway.schemas.avro import AvroSchema
from gateway.schemas.errors import InvalidSchema, RegistryUnavailable, UnknownSchema
from gateway.schemas.framing import SchemaId
from gateway.schemas.reading import compiled
from gateway.schemas.registry import RegisteredSchema, RegistryClient
from gateway.schemas.startup import open_schemas
from gateway.supervise import Supervisor
from tests.brokers.authority import Authority
from tests.schemas.served import ServedRegistry


@pytest.fixture
async def served() -> AsyncIterator[ServedRegistry]:
    async with ServedRegistry() as registry:
        registry.add("ids/1", '"int"')
        yield registry


async def fetched(schema: SchemaId, **settings: object) -> RegisteredSchema:
    client = RegistryClient(
        load_settings(None, **{f"schema_registry_{k}": v for k, v in settings.items()})
    )
    return await client.fetch(schema)


async def test_schema_is_fetched_by_id_and_by_guid(served: ServedRegistry) -> None:
    guid = UUID("01234567-89ab-cdef-0123-456789abcdef")
    served.add(f"guids/{guid}", "message", "PROTOBUF")
    assert await fetched(1, url=served.url) == RegisteredSchema("AVRO", '"int"', {})
    assert await fetched(guid, url=f"{served.url}/") == RegisteredSchema("PROTOBUF", "message", {})


async def test_references_come_before_those_that_need_them(served: ServedRegistry) -> None:
    one = {"name": "a.One", "subject": "one/x", "version": 3}
    two = {"name": "a.Two", "subject": "two", "version": 1}
    enum = '{"type":"enum","name":"a.One","symbols":["A","B"]}'
    array = '{"type":"record","name":"a.Two","fields":[{"name":"o","type":"One"}]}'
    served.add("ids/5", '{"type":"array","items":"a.Two"}', "AVRO", two, one)
    served.schemas["subjects/two/versions/1"] = {"schema": array, "references": [one]}
    served.schemas["subjects/one/x/versions/3"] = {"schema": enum}
    found = await fetched(5, url=served.url)
    assert list(found.references) == ["a.One", "a.Two"]
    schema = await compiled(found)
    assert isinstance(schema, AvroSchema)
    assert schema.json(b"\x02\x02\x00", 100) == b'[{"o":"B"}]'


async def test_references_in_a_circle_or_without_end_are_invalid(
    served: ServedRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    itself = {"name": "a", "subject": "a", "version": 1}
    served.add("ids/5", "x", "PROTOBUF", itself)
    with pytest.raises(InvalidSchema, match="lacks version 1 of 'a'"):
        await fetched(5, url=served.url)
    served.schemas["subjects/a/versions/1"] = {"schema": "x", "references": [itself]}
    with pytest.raises(InvalidSchema, match="refers to itself"):
        await fetched(5, url=served.url)
    monkeypatch.setattr(module, "MAX_REFERENCES", 0)
    with pytest.raises(InvalidSchema, match="more than 0"):
        await fetched(5, url=served.url)


async def test_each_answer_has_its_error(
    served: ServedRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UnknownSchema):
        await fetched(2, url=served.url)
    served.schemas["ids/3"] = {"no": "schema"}
    with pytest.raises(RegistryUnavailable, match="not a schema"):
        await fetched(3, url=served.url)
    served.broken = True
    with pytest.raises(RegistryUnavailable, match="answers 503"):
        await fetched(1, url=served.url)
    served.broken = False
    monkeypatch.setattr(module, "MAX_BYTES", 3)
    with pytest.raises(InvalidSchema, match="more than 3 bytes"):
        await fetched(1, url=served.url)
    served.silent = True
    monkeypatch.setattr(module, "REQUEST_SECONDS", 0.05)
    with pytest.raises(RegistryUnavailable, match="does not answer within"):
        await fetched(1, url=served.url)
    with pytest.raises(RegistryUnavailable):
        await fetched(1, url="http://127.0.0.1:1")


async def test_login_is_sent_and_a_refused_one_names_the_settings(
    served: ServedRegistry, tmp_path: Path
) -> None:
    served.basic("gäteway", "pässword")
    login = {"url": served.url, "username": "gäteway"}
    assert (await fetched(1, **login, password="pässword")).text == '"int"'
    with pytest.raises(RegistryUnavailable, match="GATEWAY_SCHEMA_REGISTRY_USERNAME"):
        await fetched(1, **login, password="wrong")
    served.wanted = "Bearer secret-token"
    file = tmp_path / "token"
    file.write_text("secret-token\n")
    assert (await fetched(1, url=served.url, token_file=str(file))).text == '"int"'


async def test_token_is_read_again_when_its_file_changes(
    served: ServedRegistry, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text("first")
    client = RegistryClient(
        load_settings(schema_registry_url=served.url, schema_registry_token_file=str(file))
    )
    served.wanted = "Bearer first"
    await client.fetch(1)
    file.write_text("the second one")
    served.wanted = "Bearer the second one"
    await client.fetch(1)


async def test_certificates_of_both_sides_are_verified(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server = authority.pair("server")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(server.certificate, server.key)
    async with ServedRegistry(context) as registry:
        registry.add("ids/1", '"int"')
        client = authority.pair("client")
        trusted = {"url": registry.url, "cafile": str(authority.certificate)}
        pair = {"certfile": str(client.certificate), "keyfile": str(client.key)}
        assert (await fetched(1, **trusted, **pair)).text == '"int"'
        with pytest.raises(RegistryUnavailable):
            await fetched(1, url=registry.url, **pair)
        with pytest.raises(RegistryUnavailable):
            await fetched(1, **trusted)


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"url": "ftp://x"}, "write it as http"),
        ({"url": "http://u:p@x"}, "without user"),
        ({"url": "http://x/?a=b"}, "query"),
        ({"username": "u"}, "set both"),
        ({"username": "u", "password": "p", "token": "t"}, "not both"),
        ({"certfile": "x"}, "set both"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, str], fault: str) -> None:
    with pytest.raises(SettingsError, match=fault):
        load_settings(
            None, **{f"schema_registry_{name}": value for name, value in settings.items()}
        )


def opened(**settings: object) -> object:
    supervisor = Supervisor(None)  # type: ignore[arg-type]
    return open_schemas(load_settings(None, **settings), supervisor.contain)


def test_schemas_are_opened_only_for_sources_with_a_format() -> None:
    assert opened() is None
    assert opened(value_format="json-schema") is not None
    with pytest.raises(SettingsError, match="GATEWAY_SCHEMA_REGISTRY_URL is not set"):
        opened(value_format="avro")
    with pytest.raises(SettingsError, match="holds no usable certificates"):
        opened(
            value_format="avro",
            schema_registry_url="https://x",
            schema_registry_cafile=__file__,
        )
