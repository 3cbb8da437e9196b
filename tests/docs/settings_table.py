"""Generates `docs/settings.md` from the settings.

    python -m tests.docs.settings_table > docs/settings.md

`tests/docs/test_settings_table.py` fails if the page is outdated.
"""

from __future__ import annotations

from types import NoneType
from typing import Literal, get_args, get_origin

from annotated_types import Ge, Le
from pydantic.fields import FieldInfo

from gateway.config import Settings, grouped
from gateway.settings.secret_settings import PREFIX

INTRODUCTION = """\
# Settings

<!-- Made by: python -m tests.docs.settings_table > docs/settings.md -->

Settings are environment variables, or the same names in lower case without `GATEWAY_` in a TOML
file that is given with `--config FILE`. The environment takes precedence. A list is written with
commas in the environment and as an array in TOML. Units are in the names.

An invalid setting prevents the start, with one line for each mistake and exit code 2. A variable
whose name is close to that of a setting is also an error; any other unknown `GATEWAY_…` variable is
logged and ignored, because Kubernetes sets such variables for a Service named `gateway`. In the
file every unknown name is an error. `gateway check` validates all settings and their effects.

`gateway serve` needs to know where Kafka is and how to verify tokens; everything else has a
default:

```toml
kafka_bootstrap = ["kafka-1:9092", "kafka-2:9092"]
jwt_public_key_file = "/etc/gateway/jwt.pem"
```

`gateway config` shows the values in force and the origin of each.
"""

NOTES = {
    "Listening": """
- **Listening.** `[::]:8080` also accepts IPv4 connections.
""",
    "Kafka": """
- **Login at Kafka.** `GATEWAY_KAFKA_SASL_MECHANISM` decides which other settings are needed:
  user name and password for `PLAIN` and `SCRAM`; a token endpoint with client and secret or with an
  assertion file, or a token file, for `OAUTHBEARER`; a region, and the extra `aws`, for
  `AWS_MSK_IAM`; a keytab or a ticket, and the extra `kerberos`, for [`GSSAPI`](kafka/kerberos.md).
  Tokens are renewed after 80 % of their lifetime. [Providers](kafka/index.md) lists the settings
  for each.
""",
    "Topics": """
- **Topics** must have different names. `GATEWAY_CREATE_TOPICS` creates missing topics, the user
  topic with 12 partitions; use it only for tests.
- **Sources.** `GATEWAY_SOURCES` replaces `GATEWAY_TOPIC` and `GATEWAY_BROADCAST_TOPIC`: up to 16
  topics, each with its audience, its keys and its records. The file of `--config` may have the
  `[[source]]` tables itself. [My topics, my records](sources.md) describes them.
- **Revocations.** `GATEWAY_REVOCATIONS_TOPIC` must be compacted, and workers need the right to read
  it and, for events that revoke, to write it. `GATEWAY_REVOCATION_SECONDS` should be at least the
  longest lifetime of a token. An empty topic name disables all revocations, including those by
  events.
- **Fleet.** `GATEWAY_WORKERS_TOPIC` must be compacted, with a `segment.ms` of some minutes, because
  Kafka does not compact the active segment. Workers need the rights to read and to write it.
  Without it they still serve streams, and each shows only itself, or the workers of its supervisor.
""",
    "Tokens": """
- **Key.** One of `GATEWAY_JWT_SECRET`, `GATEWAY_JWT_PUBLIC_KEY_FILE`, `GATEWAY_JWT_JWKS_URL` and
  `GATEWAY_OIDC_ISSUERS` is required by `gateway serve`, and only one kind may be set. A PEM file
  may hold up to 4 public keys; each is tried.
- **Claims** are given by name or path (`realm_access.id`). An integer is converted to decimal text;
  a session claim may be `null`. Providers, scopes and namespaces: [identity](identity.md).
- **Published keys.** `GATEWAY_JWT_JWKS_URL` is `https://`, or `http://` on loopback. Redirects are
  not followed; `SSL_CERT_FILE` replaces the system's certificate authorities. Keys are fetched
  every 5 minutes, so a withdrawn key may be accepted that long, and when a token names an unknown
  key, at most once in 30 s. Publish a key some minutes before it signs, and give each a `kid`: a
  token without one is tried with the first 4 keys that fit its algorithm. While the URL is
  unavailable the last keys stay in force. Ignored are keys of kind `oct`, private ones, RSA keys
  below 2048 or above 8192 bits or with an exponent of more than 32 bits, and keys whose `alg`,
  `use` or `key_ops` declare another purpose.
- **Algorithms.** The default of `GATEWAY_JWT_ALGORITHMS` is `HS256` with a secret, and with public
  keys those of `RS256`, `ES256` and `EdDSA` that fit the key. Algorithms of the other kind are
  rejected at the start.
- **Tokens** must have the `typ` `JWT` or `at+jwt`, or none. If an issuer signs other documents with
  the same keys, set `GATEWAY_JWT_AUDIENCE` as well.
- **Expiry** is compared without leeway; `GATEWAY_JWT_LEEWAY_SECONDS` is for `nbf` and `iat`.
- **Origins.** Each of `GATEWAY_CORS_ORIGINS` is written as browsers send it, such as
  `https://app.example.com`. Pages of these origins may read streams, with cookies; wildcards are
  not supported. A cookie (`GATEWAY_TOKEN_COOKIE`) counts only in requests of these pages, of the
  gateway's own origin, and of clients other than browsers. A proxy in front must forward `Host`,
  `Origin` and `Sec-Fetch-Site`.
""",
    "Memory and replay": """
- **Replay limits** apply to each log that a stream follows, whether memory or Kafka serves the
  replay ([design](design.md#limits)).
""",
    "Limits": """
- **Limits on streams** apply to each worker ([design](design.md#who-gets-in)). Beyond
  `GATEWAY_MAX_STREAMS` a new stream gets 503, beyond the other two 429.
- **Addresses.** Behind a load balancer set `GATEWAY_TRUSTED_PROXIES` with
  `GATEWAY_MAX_STREAMS_PER_ADDRESS`, such as `10.0.0.0/8,fd00::/8`, or all clients share the
  balancer's address. The balancer must append its peer's address to `X-Forwarded-For`, or write
  `Forwarded`. An IPv6 address counts as its /64.
- **Refusals.** A browser's `EventSource` gives up on a 429 or 503. With `GATEWAY_REFUSE_BY_STREAM`
  it gets a 200 stream instead that sends `retry:` and the reason in `stream.close`, and ends. The
  cost: balancers and monitors see a 200, so no other worker is tried; `gateway_rejects_total`
  counts it.
""",
    "TLS and operations": """
- **TLS.** A changed certificate file is reloaded within seconds, without a restart.
- **Operations listener.** `GATEWAY_OPS_TOKEN` is required if `GATEWAY_OPS_LISTEN` is not on
  loopback; a host name other than `localhost` counts as not on loopback. `/healthz` and `/readyz`
  never require the token. Without a token the other paths accept only requests by address or as
  `localhost`, and none from pages of another site. The two listeners must have different ports.
""",
    "Log and traces": """
- **Log.** Users and sessions are logged as a hash with `GATEWAY_LOG_KEY`, which all workers should
  share ([logs](logs.md)); with `GATEWAY_LOG_USERS=plain` they are logged unchanged.
- **Traces** and [metrics by OTLP](metrics.md#by-otlp) need `pip install '.[tracing]'`;
  OpenTelemetry's own variables set the destination, such as `OTEL_EXPORTER_OTLP_ENDPOINT`
  ([tracing](logs.md#tracing)).
""",
    "": """
- **Empty values.** An empty variable of an optional setting means that it is not set. If that
  would accept more tokens or callers (`GATEWAY_JWT_ISSUER`, `GATEWAY_JWT_AUDIENCE`, every secret),
  an empty value is an error.
- **Line breaks** at the end of a text are removed. The HMAC keys `GATEWAY_JWT_SECRET` and
  `GATEWAY_LOG_KEY` are used byte for byte.
- **Secrets from files.** Every secret has a second setting with the suffix `_FILE`, which names a
  file with the secret in UTF-8; one line break at its end is removed. Setting both is an error. A
  changed file is reloaded: the Kafka password at the next login, the client secret for the next
  token, `GATEWAY_OPS_TOKEN` and `GATEWAY_JWT_SECRET` for the next request, which rejects the former
  values. A missing or invalid file leaves the last value in force and is logged. `GATEWAY_LOG_KEY`
  is read once: a new key would give each user a second pseudonym in the same log.
- **Pairs.** A certificate and its key, a user name and its password: both or neither.
""",
}
"""Notes below the table of each group; "" applies to all settings."""


def render() -> str:
    """Return the whole document."""
    sections = [_section(group, names) for group, names in grouped().items()]
    return INTRODUCTION + "".join(sections) + "\n## All settings\n" + NOTES[""]


def _section(group: str, names: list[str]) -> str:
    rows = ["| setting | default | meaning, effect and limits |", "| --- | --- | --- |"]
    rows += [_row(name, Settings.model_fields[name]) for name in names]
    return f"\n## {group}\n\n" + "\n".join(rows) + "\n" + NOTES.get(group, "")


def _row(name: str, field: FieldInfo) -> str:
    assert field.description, f"{name} lacks a description"
    choices = ", ".join(f"`{choice}`" for choice in _choices(field.annotation))
    meaning = f"{field.description}; one of {choices}" if choices else field.description
    bounds = _bounds(field)
    meaning = f"{meaning}; {bounds}" if bounds else meaning
    return f"| `{PREFIX}{name.upper()}` | {_default(field.default)} | {meaning} |"


def _bounds(field: FieldInfo) -> str:
    lowest = [bound.ge for bound in field.metadata if isinstance(bound, Ge)]
    highest = [bound.le for bound in field.metadata if isinstance(bound, Le)]
    return f"{lowest[0]} to {highest[0]}" if lowest and highest else ""


def _choices(annotation: object) -> list[str]:
    if get_origin(annotation) is Literal:
        return [str(choice) for choice in get_args(annotation)]
    return [
        choice for part in get_args(annotation) if part is not NoneType for choice in _choices(part)
    ]


def _default(value: object) -> str:
    if value is None or value == ():
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{','.join(value)}`" if isinstance(value, tuple) else f"`{value}`"


if __name__ == "__main__":
    print(render(), end="")
