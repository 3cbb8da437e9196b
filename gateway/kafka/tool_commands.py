"""Command lines of Kafka's tools for messages, which can be run as printed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

ADMIN_PROPERTIES = "admin.properties"
"""File with an administrator's login, if the brokers need one; not the gateway's login."""


def tool_command(tool: str, options: Mapping[str, Any], words: str) -> str:
    """Return the line that runs `tool` (without `.sh`) with `words` on the brokers.

    `options` are those of `connection_options`. For brokers with TLS or a login the line has
    `--command-config`, because the tools need the administrator's login.
    """
    servers = ",".join(options["bootstrap_servers"])
    secured = options.get("security_protocol", "PLAINTEXT") != "PLAINTEXT"
    login = f" --command-config {ADMIN_PROPERTIES}" if secured else ""
    return f"{tool}.sh --bootstrap-server {servers}{login} {words}"


def config_command(topic: str, config: str, options: Mapping[str, Any]) -> str:
    """Return the line that sets `config` (`name=value`) on a topic."""
    words = f"--alter --entity-type topics --entity-name {topic} --add-config {config}"
    return tool_command("kafka-configs", options, words)


def describe_command(topic: str, options: Mapping[str, Any]) -> str:
    """Return the line that prints the leader of each partition of a topic."""
    return tool_command("kafka-topics", options, f"--describe --topic {topic}")
