"""Settings of Kafka, the topics and the Schema Registry."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, Field, model_validator

from gateway.settings.secret_settings import check_pair, env
from gateway.settings.setting_types import (
    Brokers,
    Extensions,
    FilePath,
    OptionalText,
    RegistryUrl,
    Secret,
    SecureUrl,
    Text,
    TopicName,
    TopicNameOrOff,
)


class KafkaSettings(BaseModel):
    """Connection to Kafka."""

    kafka_bootstrap: Brokers = Field(("127.0.0.1:9092",), description="brokers to ask first")
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="how to talk to the brokers"
    )
    kafka_sasl_mechanism: Literal[
        "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "AWS_MSK_IAM", "GSSAPI"
    ] = Field("PLAIN", description="how to log in, with a SASL protocol")
    kafka_sasl_username: OptionalText = Field(None, description="who to log in as")
    kafka_sasl_password: Secret = Field(None, description="the password for it")
    kafka_sasl_password_file: FilePath = Field(None, description="file with that password")
    kafka_sasl_oauthbearer_token_endpoint_url: SecureUrl | None = Field(
        None, description="token endpoint of the identity provider"
    )
    kafka_sasl_oauthbearer_client_id: OptionalText = Field(
        None, description="client at the token endpoint"
    )
    kafka_sasl_oauthbearer_client_secret: Secret = Field(None, description="secret of that client")
    kafka_sasl_oauthbearer_client_secret_file: FilePath = Field(
        None, description="file with that secret, read for each token"
    )
    kafka_sasl_oauthbearer_scope: OptionalText = Field(
        None, description="scope of the token; several with blanks"
    )
    kafka_sasl_oauthbearer_extensions: Extensions = Field(
        (), description="SASL extensions, as name=value"
    )
    kafka_sasl_oauthbearer_assertion_file: FilePath = Field(
        None, description="file with an assertion (RFC 7523), read for each token"
    )
    kafka_sasl_oauthbearer_token_file: FilePath = Field(
        None, description="file with a token that something else renews"
    )
    kafka_sasl_kerberos_service_name: Text = Field(
        "kafka", min_length=1, description="service name of the brokers, with GSSAPI"
    )
    kafka_sasl_kerberos_domain_name: OptionalText = Field(
        None, description="host name in the brokers' principal; none: that of the connection"
    )
    kafka_aws_region: OptionalText = Field(None, description="region of the cluster, with MSK IAM")
    kafka_aws_role_arn: OptionalText = Field(
        None, description="role to assume, with MSK IAM; none: that of the environment"
    )
    kafka_ssl_cafile: FilePath = Field(None, description="certificates that sign the brokers'")
    kafka_ssl_certfile: FilePath = Field(None, description="this client's certificate")
    kafka_ssl_keyfile: FilePath = Field(None, description="the key of this client's certificate")
    kafka_client_rack: OptionalText = Field(
        None, description="rack or zone of this worker, to read from followers in it; none: leaders"
    )

    @model_validator(mode="after")
    def _check_login(self) -> Self:
        check_pair(self, "kafka_ssl_certfile", "kafka_ssl_keyfile")
        check_pair(self, "kafka_sasl_username", "kafka_sasl_password")
        mechanism, protocol = self.kafka_sasl_mechanism, self.kafka_security_protocol
        if not protocol.startswith("SASL"):
            if mechanism in {"OAUTHBEARER", "AWS_MSK_IAM", "GSSAPI"}:
                raise ValueError(
                    f"{env('kafka_sasl_mechanism')}={mechanism} needs"
                    f" {env('kafka_security_protocol')}=SASL_SSL"
                )
            return self
        if mechanism in {"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"}:
            if self.kafka_sasl_username is None:
                raise ValueError(
                    f"{env('kafka_security_protocol')}={protocol} needs"
                    f" {env('kafka_sasl_username')} and {env('kafka_sasl_password')}"
                )
        elif mechanism == "AWS_MSK_IAM":
            if self.kafka_aws_region is None:
                raise ValueError(
                    f"{env('kafka_sasl_mechanism')}=AWS_MSK_IAM needs {env('kafka_aws_region')}"
                )
        elif mechanism == "OAUTHBEARER":
            self._check_token_source()
        return self

    def _check_token_source(self) -> None:
        prefix = "kafka_sasl_oauthbearer_"
        endpoint, file = f"{prefix}token_endpoint_url", f"{prefix}token_file"
        if (getattr(self, endpoint) is None) == (getattr(self, file) is None):
            raise ValueError(
                f"{env('kafka_sasl_mechanism')}=OAUTHBEARER needs one of {env(endpoint)} and"
                f" {env(file)}"
            )
        if getattr(self, file) is not None:
            return
        client = (self.kafka_sasl_oauthbearer_client_id, self.kafka_sasl_oauthbearer_client_secret)
        assertion = self.kafka_sasl_oauthbearer_assertion_file
        if (None in client and (assertion is None or any(client))) or (assertion and any(client)):
            raise ValueError(
                f"{env(endpoint)} needs either {env(f'{prefix}client_id')} and"
                f" {env(f'{prefix}client_secret')}, or {env(f'{prefix}assertion_file')}"
            )


class TopicSettings(BaseModel):
    """Topics and the meaning of their records."""

    topic: TopicName = Field("user-events", description="events of users, keyed by user id")
    broadcast_topic: TopicNameOrOff = Field(
        "broadcast-events", description="events for all users, one partition; empty: off"
    )
    sources: FilePath = Field(
        None,
        description="TOML file of topics and how their records become events; none: the two above",
    )
    revocations_topic: TopicNameOrOff = Field(
        "gateway-revocations", description="revoked sessions and users; empty: off"
    )
    workers_topic: TopicNameOrOff = Field(
        "gateway-workers", description="status of the fleet; empty: off"
    )
    dead_letter_topic: TopicNameOrOff = Field(
        "", description="topic for records that are skipped; empty: off"
    )
    create_topics: bool = Field(False, description="create missing topics; only for trying out")
    partitioner: Literal["murmur2", "crc32"] = Field(
        "murmur2", description="the producers' partitioner: Java and aiokafka, or librdkafka"
    )
    registry: FilePath = Field(None, description="TOML file of event types; none: built in")


class SchemaSettings(BaseModel):
    """The Schema Registry."""

    value_format: Literal["avro", "protobuf", "json-schema"] | None = Field(
        None, description="format of the values in both event topics; none: JSON"
    )
    schema_registry_url: RegistryUrl | None = Field(
        None, description="Schema Registry of sources with a `format`: [schemas](schemas.md)"
    )
    schema_registry_username: OptionalText = Field(None, description="who to log in there as")
    schema_registry_password: Secret = Field(None, description="the password for it")
    schema_registry_password_file: FilePath = Field(None, description="file with that password")
    schema_registry_token: Secret = Field(None, description="bearer token for it, instead of both")
    schema_registry_token_file: FilePath = Field(
        None, description="file with that token, which something else renews"
    )
    schema_registry_cafile: FilePath = Field(
        None, description="certificates that sign the registry's"
    )
    schema_registry_certfile: FilePath = Field(
        None, description="this client's certificate for the registry"
    )
    schema_registry_keyfile: FilePath = Field(None, description="the key of that certificate")
    schema_wait_seconds: float = Field(
        5, ge=0.1, le=60, description="how long records wait for a schema that is not cached"
    )

    @model_validator(mode="after")
    def _check_registry(self) -> Self:
        check_pair(self, "schema_registry_username", "schema_registry_password")
        check_pair(self, "schema_registry_certfile", "schema_registry_keyfile")
        if self.schema_registry_username and self.schema_registry_token:
            raise ValueError(
                f"set {env('schema_registry_username')} or {env('schema_registry_token')}, not both"
            )
        return self
