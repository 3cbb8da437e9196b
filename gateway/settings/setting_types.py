"""Types of settings: addresses, URLs, topic names, origins, files, secrets.

Each is a pydantic annotation. An invalid value raises `ValueError` with a text that states
the expected form; `gateway.config` turns it into one line behind the name of the setting.
"""

from __future__ import annotations

import os
import re
import sys
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, SecretStr, StringConstraints
from pydantic_settings import NoDecode

from gateway.issuers import Issuer, read_issuers

HOUR = 3600
DAY = 24 * HOUR
YEARS = 3650 * DAY
"""Ten years: the upper bound of ages, so that a time minus an age is never before 1970."""

MAX_HOST = 253
"""Characters of a host name (RFC 1035, §2.3.4)."""

MAX_PORT = 65535

MAX_WORKERS = 256
"""Worker processes of one machine."""

_HOST_AND_PORT = re.compile(r"(?P<host>\[[^\s\[\]]+\]|[^\s\[\]:/]+):(?P<port>[0-9]{1,5})")

# Letters, digits and hyphens (RFC 1123, §2.1), and the underscore of container names.
_HOST = re.compile(
    r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_-]{1,63}\.?", re.IGNORECASE
)

_TOPIC = re.compile(r"[a-zA-Z0-9._-]{1,249}")
"""A topic name as Kafka accepts it (`org.apache.kafka.common.internals.Topic`)."""

_COOKIE = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A cookie name (RFC 6265, §4.1.1)."""

_EXTENSION = re.compile(r"[A-Za-z]+=[\x21-\x7e \t\r\n]*")
"""A key and value of SASL/OAUTHBEARER (RFC 7628, §3.1)."""

_ORIGIN = re.compile(
    r"[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
)
"""An origin as RFC 6454, §6.2, writes it; apps use custom schemes."""

_DEFAULT_PORTS = {"https:": ":443", "http:/": ":80"}

_SHOWN = 80
"""Characters of a wrong value in an error."""


class Address(str):
    """A `host:port` to listen on; an IPv6 host stands in brackets."""

    __slots__ = ()

    @property
    def host(self) -> str:
        """The host without brackets."""
        return self.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port; 0 lets the system choose."""
        return int(self.rpartition(":")[2])

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def url_of(scheme: str, host: str, port: int) -> str:
    """Return the URL of a server; an IPv6 address gets brackets."""
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def is_host(host: str) -> bool:
    """Whether `host` is an IP address, in brackets or not, or a host name that DNS can hold."""
    if host.startswith("[") or ":" in host:
        try:
            return ip_address(host.removeprefix("[").removesuffix("]")).version == 6
        except ValueError:
            return False
    return len(host) <= MAX_HOST and bool(_HOST.fullmatch(host))


def shown(value: object) -> str:
    """Return the value for an error message: on one line and shortened."""
    try:
        text = repr(value)
    except RecursionError:  # of a TOML table with thousands of levels
        return "a table that is nested too deeply"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _is_server(value: str, lowest: int) -> bool:
    parts = _HOST_AND_PORT.fullmatch(value)
    if parts is None:
        return False
    return is_host(parts["host"]) and lowest <= int(parts["port"]) <= MAX_PORT


def _split(value: object) -> object:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _listen(value: object) -> object:
    text = str(value).strip()
    if not _is_server(text, 0):
        raise ValueError(
            "write it as host:port, for example 127.0.0.1:8080 or, with IPv6, [::1]:8080"
        )
    return Address(text)


def _brokers(value: tuple[str, ...]) -> tuple[str, ...]:
    wrong = [broker for broker in value if not _is_server(broker, 1)]
    if wrong:
        raise ValueError(
            f"{shown(wrong[0])} is not host:port; write for example kafka:9092, several with commas"
        )
    if not value:
        raise ValueError("write it as host:port, several with commas, for example kafka:9092")
    return value


def _is_url(value: str) -> bool:
    try:
        url = urlsplit(value)
        fits = url.scheme in {"http", "https"} and is_host(url.hostname or "")
        fits = fits and url.port != 0 and url.username is None
    except ValueError:  # an invalid port or IPv6 address
        return False
    return fits and value.isascii() and value.isprintable() and " " not in value


def _registry_url(value: str) -> str:
    if not _is_url(value) or "?" in value or "#" in value:
        raise ValueError(
            "write it as http://host:port or https://host/path, without user, password and query"
        )
    return value


def _secure_url(value: str) -> str:
    fits = _is_url(value)
    if fits and urlsplit(value).scheme == "http":
        fits = Address(f"{urlsplit(value).hostname}:0").is_loopback
    if not fits:
        raise ValueError(
            "write it as https://host/path, without user and password; http:// is for loopback"
            " only, because an attacker who changes the response in transit can sign any token"
        )
    return value


def topic_fault(value: str) -> str:
    """Return why Kafka rejects a topic name, with the remedy; "" for a valid name."""
    if _TOPIC.fullmatch(value) and value not in {".", ".."}:
        return ""
    return (
        f"{shown(value)} is not a topic name; Kafka allows 1 to 249 letters, digits, dots,"
        " underscores and hyphens"
    )


def _topic(value: str) -> str:
    if fault := topic_fault(value):
        raise ValueError(f"{fault}. One topic only: this setting is not a list")
    return value


def _topic_or_off(value: str) -> str:
    return _topic(value) if value else value


def _origins(value: tuple[str, ...]) -> tuple[str, ...]:
    for origin in value:
        parts = _ORIGIN.fullmatch(origin)
        if (
            not parts
            or int(parts["port"] or 1) > MAX_PORT
            or origin.endswith(_DEFAULT_PORTS.get(origin[:6], "/"))
        ):
            raise ValueError(
                f"{shown(origin)} is not an origin; write each one as browsers send it, for example"
                " https://app.example.com: scheme, host in lower case, port if it is not the"
                " default of the scheme, and nothing else. Wildcards are not supported: a"
                " stream belongs to one user"
            )
    return value


def _networks(value: tuple[str, ...]) -> tuple[str, ...]:
    for network in value:
        try:
            ip_network(network)
        except ValueError as error:
            fault = str(error).replace(repr(network), shown(network))
            raise ValueError(
                f"{fault}; write each as a network or an address, for example 10.0.0.0/8 or ::1"
            ) from None
    return value


def _extensions(value: tuple[str, ...]) -> tuple[str, ...]:
    for extension in value:
        if not _EXTENSION.fullmatch(extension) or extension.startswith("auth="):
            raise ValueError(
                f"{shown(extension)} is not a SASL extension; write each as name=value, with a name"
                " of letters other than auth, for example logicalCluster=lkc-1"
            )
    return value


MAX_TEXT = 4_096
"""Characters of a text; the longest path of Linux. Kafka's protocol has 32,767."""


def _printable(value: str) -> str:
    if len(value) > MAX_TEXT:
        raise ValueError(f"it has {len(value):,} characters, at most {MAX_TEXT:,} are accepted")
    if not value.isprintable():
        raise ValueError(f"{shown(value)} holds a control character or a line break: remove it")
    return value


def _guard(value: str) -> str:
    """Reject an empty text if an unset value would accept more tokens."""
    if not value:
        raise ValueError("it is empty: set it to the required value, or remove it to accept any")
    return _printable(value)


def _cookie(value: str) -> str:
    if not _COOKIE.fullmatch(value):
        raise ValueError(f"{shown(value)} is not a cookie name; write for example session")
    return value


def _path(value: Path | None) -> Path | None:
    if value is not None:
        _printable(str(value))
    return value


def _none_if_empty(value: object) -> object:
    """Treat an empty variable, as compose files pass it on, as unset."""
    return None if isinstance(value, str) and not value.strip() else value


def _worker_count(value: object) -> object:
    """Return the number of workers: a number, or `auto` for the cores that this process may use."""
    if isinstance(value, str):
        text = value.strip()
        if text == "auto":
            return min(usable_cores(), MAX_WORKERS)
        value = int(text) if text.isdecimal() and len(text) < 10 else value
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_WORKERS:
        raise ValueError(f"{shown(str(value))} is not a number from 1 to {MAX_WORKERS}, or auto")
    return value


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _one_line(value: object) -> object:
    """Remove the line break that files and shells leave at the end of a secret."""
    return value.rstrip("\r\n") if isinstance(value, str) else value


Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
Brokers = Annotated[Words, AfterValidator(_brokers)]
Origins = Annotated[Words, AfterValidator(_origins)]
Extensions = Annotated[Words, AfterValidator(_extensions)]
Networks = Annotated[Words, AfterValidator(_networks)]
Stripped = Annotated[str, StringConstraints(strip_whitespace=True)]
Text = Annotated[Stripped, AfterValidator(_printable)]
OptionalText = Annotated[Text | None, BeforeValidator(_none_if_empty)]
GuardText = Annotated[Stripped, AfterValidator(_guard)]
"""A text that tokens must have: empty is rejected, not treated as unset."""
CookieName = Annotated[
    Annotated[Stripped, AfterValidator(_cookie)] | None, BeforeValidator(_none_if_empty)
]
TopicName = Annotated[Stripped, AfterValidator(_topic)]
TopicNameOrOff = Annotated[Stripped, AfterValidator(_topic_or_off)]
RegistryUrl = Annotated[Stripped, AfterValidator(_registry_url)]
SecureUrl = Annotated[Stripped, AfterValidator(_secure_url)]
FilePath = Annotated[Path | None, AfterValidator(_path), BeforeValidator(_none_if_empty)]
Secret = Annotated[SecretStr | None, BeforeValidator(_one_line)]
"""A secret that is sent as text; HMAC keys, used byte for byte, are `SecretStr`."""
Issuers = Annotated[tuple[Issuer, ...], NoDecode, BeforeValidator(read_issuers)]
ListenAddress = Annotated[Any, BeforeValidator(_listen)]
WorkerCount = Annotated[int, NoDecode, BeforeValidator(_worker_count)]
