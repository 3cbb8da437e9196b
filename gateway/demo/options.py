"""Command line options of the demo, and the settings derived from them."""

from __future__ import annotations

import errno
import secrets
import socket
from pathlib import Path  # noqa: TC003 - read by with_fields
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from pydantic import SecretStr

from gateway.config import Settings
from gateway.errors import SettingsError
from gateway.settings.setting_types import Address
from gateway.sources import load_sources

if TYPE_CHECKING:
    from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

HOST = "127.0.0.1"
"""The demo issues tokens to any client, so it listens on loopback only."""

USERS = ("alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi")


def _port(help_text: str) -> Any:
    return typer.Option(min=0, max=65535, help=help_text)


class DemoOptions(NamedTuple):
    """Options of `gateway demo`; port 0 selects a free port."""

    port: Annotated[int, _port("Port of the page and the streams.")] = 8080
    ops_port: Annotated[int, _port("Port of health and metrics.")] = 8081
    kafka_port: Annotated[int, _port("Port of the embedded broker; 0: any.")] = 0
    bootstrap: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", help="Existing Kafka to use instead; topics begin with demo-."
        ),
    ] = None
    users: Annotated[
        int, typer.Option(min=1, max=len(USERS), help="Number of simulated users.")
    ] = 4
    pace: Annotated[
        float, typer.Option(min=0.1, max=100, help="Activity factor; 2 doubles it.")
    ] = 1.0
    sources: Annotated[
        Path | None,
        typer.Option("--sources", metavar="FILE", help="TOML file of sources to try with samples."),
    ] = None


class DemoSettings(Settings):
    """Settings that ignore the environment.

    The environment may name a production Kafka, and the demo must not publish events there.
    """

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Use the given values only."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)


def demo_settings(options: DemoOptions, bootstrap: str) -> Settings:
    """Return the settings of the demo worker, with a random secret.

    On an existing Kafka the demo uses topics with the prefix `demo-`.
    """
    prefix = "" if options.bootstrap is None else "demo-"
    topics: dict[str, Any] = {
        "topic": f"{prefix}user-events",
        "broadcast_topic": f"{prefix}broadcast-events",
    }
    if options.sources is not None:
        if options.bootstrap is not None:
            raise SettingsError(
                "--sources cannot be combined with --bootstrap: the demo writes sample events to"
                " the topics of the file; remove --bootstrap"
            )
        topics = {"sources": options.sources}
        load_sources(options.sources, DemoSettings.model_fields)  # for its errors
    return DemoSettings(
        **topics,
        listen=Address(f"{HOST}:{options.port}"),
        ops_listen=Address(f"{HOST}:{options.ops_port}"),
        kafka_bootstrap=(bootstrap,),
        revocations_topic=f"{prefix}gateway-revocations",
        workers_topic=f"{prefix}gateway-workers",
        create_topics=True,
        jwt_secret=SecretStr(secrets.token_urlsafe(48)),
        token_query=True,
        drain_seconds=0,
        log_format="text",
        log_level="error",
    )


def check_ports(options: DemoOptions) -> None:
    """Check that all ports are free. `SettingsError` names each used port and its option."""
    chosen = [("--port", options.port), ("--ops-port", options.ops_port)]
    if options.bootstrap is None:
        chosen.append(("--kafka-port", options.kafka_port))
    faults = []
    claimed: dict[int, str] = {}
    for option, port in chosen:
        fault = f"is already the one of {claimed[port]}" if port in claimed else _fault(port)
        if fault is not None:
            faults.append(
                f"port {port} {fault}: choose another one with {option}"
                f" (make demo DEMO_ARGS='{option} PORT')"
            )
        if port:
            claimed[port] = option
    if faults:
        raise SettingsError("\n".join(faults))


def _fault(port: int) -> str | None:
    with socket.socket() as probe:
        # Like the listeners: without it a port seems used for a minute after a demo ended.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return "is taken"
            return f"cannot be used ({error.strerror})"
    return None
