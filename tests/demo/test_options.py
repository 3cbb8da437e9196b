from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from gateway.demo.options import DemoOptions, check_ports, demo_settings
from gateway.errors import SettingsError
from tests.child import free_port


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


@pytest.mark.parametrize(
    ("ports", "option"),
    [((None, 0, 0), "--port"), ((0, None, 0), "--ops-port"), ((0, 0, None), "--kafka-port")],
)
def test_the_error_names_a_used_port_and_its_option(
    ports: tuple[int | None, int | None, int | None], option: str, taken: int
) -> None:
    port, ops_port, kafka_port = (taken if each is None else each for each in ports)
    with pytest.raises(SettingsError) as error:
        check_ports(DemoOptions(port, ops_port, kafka_port))
    assert str(error.value) == (
        f"port {taken} is taken: choose another one with {option}"
        f" (make demo DEMO_ARGS='{option} PORT')"
    )


def test_the_error_names_every_used_port(taken: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(SettingsError) as error:
        check_ports(DemoOptions(port=taken, ops_port=other.getsockname()[1]))
    assert len(str(error.value).splitlines()) == 2


def test_two_listeners_cannot_share_a_port() -> None:
    port = free_port()
    with pytest.raises(
        SettingsError, match=f"port {port} is already the one of --port.*--ops-port"
    ):
        check_ports(DemoOptions(port=port, ops_port=port))


def test_free_ports_and_port_0_are_accepted() -> None:
    check_ports(DemoOptions(port=0, ops_port=0, kafka_port=free_port()))


def test_the_port_of_the_embedded_broker_does_not_matter_without_it(taken: int) -> None:
    check_ports(DemoOptions(0, 0, kafka_port=taken, bootstrap="kafka:9092"))


def test_the_environment_cannot_make_the_demo_write_to_another_kafka(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GATEWAY_KAFKA_BOOTSTRAP", "production:9092")
    monkeypatch.setenv("GATEWAY_JWT_SECRET", "x" * 32)
    settings = demo_settings(DemoOptions(), "127.0.0.1:9999")
    assert settings.kafka_bootstrap == ("127.0.0.1:9999",)
    assert settings.jwt_secret is not None
    assert settings.jwt_secret.get_secret_value() != "x" * 32


def test_on_a_kafka_that_was_there_before_the_demo_keeps_to_its_own_topics() -> None:
    settings = demo_settings(DemoOptions(bootstrap="kafka:9092"), "kafka:9092")
    topics = (
        settings.topic,
        settings.broadcast_topic,
        settings.revocations_topic,
        settings.workers_topic,
    )
    assert all(topic.startswith("demo-") for topic in topics)


def test_two_demos_have_two_secrets() -> None:
    one, other = (demo_settings(DemoOptions(), "k:9092").jwt_secret for _ in range(2))
    assert one != other
