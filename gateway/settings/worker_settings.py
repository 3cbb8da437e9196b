"""Settings of a worker: listeners, streams, replay, limits, log."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, Field, SecretStr, model_validator

from gateway.settings.secret_settings import check_pair, check_secret
from gateway.settings.setting_types import (
    DAY,
    HOUR,
    MAX_WORKERS,
    YEARS,
    Address,
    FilePath,
    ListenAddress,
    Networks,
    OptionalText,
    Secret,
    WorkerCount,
)


class ListenSettings(BaseModel):
    """Addresses of the two listeners."""

    listen: ListenAddress = Field(Address("127.0.0.1:8080"), description="where clients connect")
    ops_listen: ListenAddress = Field(
        Address("127.0.0.1:8081"), description="where operators and Prometheus connect"
    )


class StreamSettings(BaseModel):
    """The life of a stream."""

    retry_ms: int = Field(
        3000,
        ge=0,
        le=HOUR * 1000,
        description="reconnect delay in `retry:`; each stream gets 0.5 to 1.5 times that",
    )
    heartbeat_seconds: float = Field(
        30, ge=0.1, le=HOUR, description="silence after which a stream sends a heartbeat"
    )
    max_stream_age_seconds: float = Field(
        3600, ge=1, le=30 * DAY, description="age at which a stream ends"
    )
    slow_seconds: float = Field(30, ge=0.1, le=HOUR, description="how long a stream may stay stuck")
    drain_seconds: float = Field(30, ge=0, le=DAY, description="over how long a drain is spread")


class ReplaySettings(BaseModel):
    """Memory and replay."""

    tail_bytes: int = Field(
        134_217_728, ge=1, le=1 << 40, description="memory for recent records, in all"
    )
    tail_warm_seconds: float = Field(
        60, ge=0, le=7 * DAY, description="how much of a log is read when its first stream opens"
    )
    replay_max_age_seconds: float = Field(
        3600, ge=1, le=YEARS, description="oldest record that is replayed"
    )
    replay_max_events: int = Field(
        1000, ge=1, le=1_000_000, description="most events in one replay"
    )
    replay_max_records: int = Field(
        5_000_000, ge=1, le=10_000_000_000, description="most records read for one replay"
    )
    replay_scans: int = Field(
        4, ge=1, le=100, description="replays that read Kafka at the same time"
    )
    live_delay_ms: float = Field(7, ge=0, le=10_000, description="maximum delay that pacing adds")


class LimitSettings(BaseModel):
    """Limits on streams."""

    max_streams: int = Field(20_000, ge=1, le=1_000_000, description="streams of this worker")
    max_streams_per_user: int = Field(20, ge=1, le=1_000_000, description="streams of one user")
    max_streams_per_address: int | None = Field(
        None, ge=1, le=1_000_000, description="streams of one address"
    )
    trusted_proxies: Networks = Field((), description="networks whose forwarded addresses count")
    refuse_by_stream: bool = Field(
        False, description="answer 429 and 503 to an `EventSource` by a stream that ends at once"
    )


class WorkerSettings(BaseModel):
    """Several workers."""

    workers: WorkerCount = Field(
        1,
        ge=1,
        le=MAX_WORKERS,
        description="worker processes of this machine; `auto`: as many as it has cores",
    )
    sharding: Literal["off", "redirect", "handover"] = Field(
        "off",
        description="`redirect`: send requests to the URL of their partition, for a load balancer;"
        " `handover`: divide the partitions among the workers of this machine only",
    )
    settle_seconds: float = Field(
        300,
        ge=0,
        le=7 * DAY,
        description="how long old and new partition are followed after a topic has grown",
    )


class OperationsSettings(BaseModel):
    """TLS and the operations listener."""

    tls_certfile: FilePath = Field(None, description="certificate for the public listener")
    tls_keyfile: FilePath = Field(None, description="key of that certificate")
    ops_token: Secret = Field(
        None, description="bearer token of the operations listener; required beyond loopback"
    )
    ops_token_file: FilePath = Field(None, description="file with that token")
    fleet_name: OptionalText = Field(
        None, description="name of the cluster or environment, shown in the dashboard's title"
    )

    @model_validator(mode="after")
    def _check_operations(self) -> Self:
        check_pair(self, "tls_certfile", "tls_keyfile")
        check_secret(self, "ops_token")
        return self


class LogSettings(BaseModel):
    """Log and traces."""

    log_format: Literal["text", "json"] | None = Field(
        None, description="none: text on a terminal, else json"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="lowest level that is logged"
    )
    log_users: Literal["hash", "plain"] = Field(
        "hash", description="form of users and sessions in the log"
    )
    log_key: SecretStr | None = Field(
        None, description="key of that hash, 32 bytes or more; none: random at each start"
    )
    log_key_file: FilePath = Field(None, description="file with that key")
    tracing: bool = Field(False, description="send traces; needs the extra `tracing`")
    otlp_metrics: bool = Field(
        False, description="send the metrics by OTLP as well; needs the extra `tracing`"
    )

    @model_validator(mode="after")
    def _check_log_key(self) -> Self:
        check_secret(self, "log_key")
        return self
