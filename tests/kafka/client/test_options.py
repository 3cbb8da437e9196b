from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from gateway.config import load_settings
from gateway.errors import SettingsError
from gateway.kafka.client.options import connection_options
from tests.http.certificates import Files

PASSWORD = "hunter2"


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_a_plain_connection_needs_an_address_only() -> None:
    options = connection_options(load_settings(None, kafka_bootstrap=["a:1", "b:2"]))
    assert options == {
        "bootstrap_servers": ["a:1", "b:2"],
        "client_id": "gateway",
        "security_protocol": "PLAINTEXT",
        "ssl_context": None,
        "sasl_mechanism": "PLAIN",
        "sasl_plain_username": None,
        "sasl_plain_password": None,
        "sasl_kerberos_service_name": "kafka",
        "sasl_kerberos_domain_name": None,
        "sasl_oauth_token_provider": None,
    }


def test_a_client_has_a_name_for_the_brokers_logs() -> None:
    assert connection_options(load_settings(), "gateway-publish")["client_id"] == "gateway-publish"


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_a_password_is_handed_on(mechanism: str) -> None:
    options = connection_options(
        load_settings(
            None,
            kafka_security_protocol="SASL_PLAINTEXT",
            kafka_sasl_mechanism=mechanism,
            kafka_sasl_username="me",
            kafka_sasl_password=PASSWORD,
        )
    )
    assert options["sasl_mechanism"] == mechanism
    assert options["sasl_plain_username"] == "me"
    assert options["sasl_plain_password"]() == PASSWORD
    assert options["ssl_context"] is None


@pytest.mark.parametrize("protocol", ["SSL", "SASL_SSL"])
def test_brokers_are_verified_with_the_certificates_of_the_file(
    files: Files, protocol: str
) -> None:
    options = connection_options(
        load_settings(
            None,
            kafka_security_protocol=protocol,
            kafka_sasl_username="me",
            kafka_sasl_password=PASSWORD,
            kafka_ssl_cafile=files.certfile,
            kafka_ssl_certfile=files.certfile,
            kafka_ssl_keyfile=files.keyfile,
        )
    )
    context = options["ssl_context"]
    assert isinstance(context, ssl.SSLContext)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.cert_store_stats()["x509"] == 1


def test_without_a_file_the_systems_certificates_count() -> None:
    context = connection_options(load_settings(None, kafka_security_protocol="SSL"))["ssl_context"]
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


@pytest.mark.parametrize("damage", ["missing", "empty", "no certificate"])
def test_certificates_that_cannot_be_used_are_one_line(files: Files, damage: str) -> None:
    if damage == "missing":
        files.certfile.unlink()
    else:
        files.certfile.write_bytes(b"" if damage == "empty" else b"nonsense")
    settings = load_settings(None, kafka_security_protocol="SSL", kafka_ssl_cafile=files.certfile)
    with pytest.raises(SettingsError) as refused:
        connection_options(settings)
    text = str(refused.value)
    assert text.startswith(f"GATEWAY_KAFKA_SSL_CAFILE: {files.certfile} ")
    assert len(text.splitlines()) == 1


@pytest.mark.parametrize("damage", ["missing", "of another pair"])
def test_unusable_certificate_pair_is_reported_in_one_line(files: Files, damage: str) -> None:
    if damage == "missing":
        files.keyfile.unlink()
    else:
        files.renew(certificate=False)
    settings = load_settings(
        None,
        kafka_security_protocol="SSL",
        kafka_ssl_certfile=files.certfile,
        kafka_ssl_keyfile=files.keyfile,
    )
    with pytest.raises(SettingsError) as refused:
        connection_options(settings)
    text = str(refused.value)
    assert text.startswith("GATEWAY_KAFKA_SSL_CERTFILE and GATEWAY_KAFKA_SSL_KEYFILE: ")
    assert len(text.splitlines()) == 1
