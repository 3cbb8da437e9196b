"""Connection options of all Kafka clients of the gateway, from the settings."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from gateway.errors import SettingsError
from gateway.files import client_tls
from gateway.kafka.client.login import token_provider
from gateway.secret_file import ReloadingSecret

if TYPE_CHECKING:
    import ssl

    from gateway.config import Settings


def connection_options(settings: Settings, client_id: str = "gateway") -> dict[str, Any]:
    """Return the options of connections to brokers: addresses, TLS and login.

    Raises `SettingsError` if a certificate or key file cannot be used.
    """
    mechanism = settings.kafka_sasl_mechanism
    if mechanism == "GSSAPI" and find_spec("gssapi") is None:
        raise SettingsError(
            "GATEWAY_KAFKA_SASL_MECHANISM=GSSAPI needs an extra: run"
            " pip install '.[kerberos]' in a clone of the gateway"
        )
    return {
        "bootstrap_servers": list(settings.kafka_bootstrap),
        "client_id": client_id,
        "security_protocol": settings.kafka_security_protocol,
        "ssl_context": _ssl_context(settings),
        "sasl_mechanism": "OAUTHBEARER" if mechanism == "AWS_MSK_IAM" else mechanism,
        "sasl_plain_username": settings.kafka_sasl_username,
        "sasl_plain_password": (
            None
            if settings.kafka_sasl_password is None
            else ReloadingSecret(settings, "kafka_sasl_password")
        ),
        "sasl_kerberos_service_name": settings.kafka_sasl_kerberos_service_name,
        "sasl_kerberos_domain_name": settings.kafka_sasl_kerberos_domain_name,
        "sasl_oauth_token_provider": token_provider(settings),
    }


def _ssl_context(settings: Settings) -> ssl.SSLContext | None:
    if "SSL" not in settings.kafka_security_protocol:
        return None
    return client_tls(
        "GATEWAY_KAFKA_SSL",
        settings.kafka_ssl_cafile,
        settings.kafka_ssl_certfile,
        settings.kafka_ssl_keyfile,
    )
