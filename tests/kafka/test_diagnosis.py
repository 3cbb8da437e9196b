from __future__ import annotations

import asyncio
import socket
import ssl

import pytest
from aiokafka.errors import (
    IllegalSaslStateError,
    InvalidTopicError,
    KafkaConnectionError,
    KafkaError,
    NodeNotReadyError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnsupportedSaslMechanismError,
)

from gateway.config import Settings
from gateway.core.records import TopicPartition
from gateway.kafka.client.error_codes import partition_error
from gateway.kafka.client.options import connection_options
from gateway.kafka.diagnosis import diagnose, explain, missing_right, slow, unreachable
from tests.brokers.scripted import ScriptedServer, describe_cluster
from tests.child import free_port
from tests.conftest import Broker

OPTIONS = {
    "bootstrap_servers": ["kafka:9092"],
    "security_protocol": "SASL_SSL",
    "sasl_mechanism": "PLAIN",
    "sasl_plain_username": "alice",
}


def unverified(code: int, message: str = "") -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, message
    return error


def tls(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, reason.lower())
    error.reason = reason
    return error


def closed(cause: BaseException) -> KafkaConnectionError:
    """Return the error that aiokafka raises when the connection closes during a request."""
    error = KafkaConnectionError("Connection at kafka:9092 closed")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "found", "setting"),
    [
        (SaslAuthenticationFailed("no"), "refuses the login of alice (PLAIN)", "SASL_PASSWORD"),
        (
            UnsupportedSaslMechanismError(),
            "does not accept the SASL mechanism PLAIN",
            "SASL_MECHANISM",
        ),
        (IllegalSaslStateError(), "does not accept SASL", "SECURITY_PROTOCOL"),
        (unverified(10), "has expired", "SSL_CAFILE"),
        (unverified(18), "is self-signed", "SSL_CAFILE"),
        (unverified(19), "a CA that is not trusted here", "SSL_CAFILE"),
        (unverified(20), "a CA that is not trusted here", "SSL_CAFILE"),
        (unverified(62), "another name", "BOOTSTRAP"),
        (unverified(64), "another address", "BOOTSTRAP"),
        (unverified(66, "EE key too weak"), "EE key too weak", "SSL_CAFILE"),
        (closed(tls("TLSV13_ALERT_CERTIFICATE_REQUIRED")), "wants a certificate", "SSL_CERTFILE"),
        (closed(tls("SSLV3_ALERT_BAD_CERTIFICATE")), "wants a certificate", "SSL_KEYFILE"),
        (closed(tls("SSLV3_ALERT_CERTIFICATE_UNKNOWN")), "does not trust this", "SSL_CERTFILE"),
        (closed(tls("TLSV1_ALERT_UNKNOWN_CA")), "does not trust this", "SSL_CERTFILE"),
        (tls("WRONG_VERSION_NUMBER"), "does not speak TLS", "SECURITY_PROTOCOL"),
        (closed(asyncio.IncompleteReadError(b"", 4)), "closes the connection", "SECURITY_PROTOCOL"),
        (ConnectionResetError(), "closes the connection", "SECURITY_PROTOCOL"),
        (closed(socket.gaierror(-2, "no such name")), "cannot be resolved", "BOOTSTRAP"),
        (ConnectionRefusedError(111, "refused"), "no Kafka broker answers", "BOOTSTRAP"),
        (TimeoutError(), "no Kafka broker answers", "BOOTSTRAP"),
        (KafkaConnectionError("Unable to bootstrap"), "no Kafka broker answers", "BOOTSTRAP"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_each_failure_names_the_setting_behind_it(
    error: BaseException, found: str, setting: str
) -> None:
    diagnosis = diagnose(error, OPTIONS)
    assert found in diagnosis.found
    assert "kafka:9092" in diagnosis.found
    assert f"GATEWAY_KAFKA_{setting}" in diagnosis.advice
    assert "\n" not in str(diagnosis)


def test_wrong_clock_is_diagnosed_as_a_clock_error() -> None:
    assert "clock" in diagnose(unverified(9), OPTIONS).advice


@pytest.mark.parametrize("right", ["Describe", "Read"])
def test_a_missing_right_names_the_topic_and_the_command(right: str) -> None:
    diagnosis = missing_right(right, "user-events", OPTIONS)
    assert diagnosis.found == f"no right {right} on topic user-events"
    assert "--operation Read --topic user-events" in diagnosis.advice, "it implies Describe"


def test_a_question_that_is_refused_is_a_missing_right() -> None:
    error = partition_error(TopicAuthorizationFailedError.errno, TopicPartition("user-events", 3))
    assert diagnose(error, OPTIONS) == missing_right("Read", "user-events", OPTIONS)


def test_error_unrelated_to_settings_is_reported_unchanged() -> None:
    assert str(diagnose(InvalidTopicError("no/name"), OPTIONS)) == (
        "Kafka refuses: [Error 17] InvalidTopicError: no/name"
    )


async def test_unreachable_server_is_distinguished_from_one_that_hangs_up() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1") as server:
        refusing = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        away = f"127.0.0.1:{free_port()}"
        options = connection_options(Settings(kafka_bootstrap=(away, refusing)))
        diagnosis = await explain(KafkaConnectionError("Unable to bootstrap"), options)
        assert "closes the connection" in diagnosis.found


FAILURES = [NodeNotReadyError("node 2"), TimeoutError(), KafkaConnectionError("node 2")]


@pytest.mark.parametrize("error", FAILURES)
async def test_unreachable_advertised_listener_is_named(error: KafkaError | TimeoutError) -> None:
    away = free_port()
    async with ScriptedServer(lambda request: describe_cluster(request, away)) as server:
        options = connection_options(Settings(kafka_bootstrap=(server.address,)))
        diagnosis = await explain(error, options)
    assert diagnosis == unreachable([f"127.0.0.1:{away}"])
    assert "advertised.listeners" in diagnosis.advice


@pytest.mark.parametrize("error", FAILURES)
async def test_silent_bootstrap_server_is_not_blamed_on_advertised_listeners(
    broker: Broker, error: KafkaError | TimeoutError
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        options = connection_options(Settings(kafka_bootstrap=(address, broker.bootstrap)))
        assert await explain(error, options) == slow(options)
