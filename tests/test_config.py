from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Settings, foreign_variables, load_settings
from gateway.core.source import simple_sources
from gateway.errors import SettingsError
from gateway.settings.secret_settings import PREFIX
from gateway.settings.setting_types import Address

SECRET = "correct horse battery staple, thirty-two bytes"

BEYOND_LOOPBACK = [
    "0.0.0.0", "[::]", "10.0.0.1", "[fd00::1]", "[::ffff:10.0.0.1]", "gateway.internal",
    "127.example.com", "localhost.example.com", "0",
]  # fmt: skip


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without settings; more can be set."""
    for name in os.environ:
        if name.startswith(PREFIX):
            monkeypatch.delenv(name)
    return monkeypatch


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "gateway.toml"


def refusal(config: Path | None = None) -> str:
    """Return the error message for invalid settings."""
    with pytest.raises(SettingsError) as refused:
        load_settings(config)
    # Whatever is shown of the error, also as a traceback, must not show a secret.
    assert "hunter2" not in "".join(traceback.format_exception(refused.value))
    return str(refused.value)


def test_everything_has_a_default() -> None:
    settings = load_settings()
    assert settings.listen == "127.0.0.1:8080"
    assert settings.kafka_bootstrap == ("127.0.0.1:9092",)
    assert settings.jwt_secret is None
    assert settings.heartbeat_seconds == 30


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("LISTEN", "0.0.0.0:80", "0.0.0.0:80"),
        ("LISTEN", "[::1]:0", "[::1]:0"),
        ("LISTEN", "gateway.internal:65535", "gateway.internal:65535"),
        ("KAFKA_BOOTSTRAP", "a:1, b:2 ,,[::1]:3", ("a:1", "b:2", "[::1]:3")),
        ("JWT_ALGORITHMS", "RS256,ES256", ("RS256", "ES256")),
        ("JWT_ALGORITHMS", "", ()),
        ("CREATE_TOPICS", "true", True),
        ("BROADCAST_TOPIC", "", ""),
        ("RETRY_MS", "0", 0),
        ("JWT_JWKS_URL", "https://id.example.com/keys?v=1", "https://id.example.com/keys?v=1"),
        ("JWT_JWKS_URL", "http://127.0.0.1:8000/keys", "http://127.0.0.1:8000/keys"),
        ("JWT_JWKS_URL", "http://localhost/keys", "http://localhost/keys"),
        ("JWT_JWKS_URL", "http://[::1]:8000/keys", "http://[::1]:8000/keys"),
        (
            "CORS_ORIGINS",
            "https://a.test, http://b.test:8080",
            ("https://a.test", "http://b.test:8080"),
        ),
        ("CORS_ORIGINS", "http://[::1]:8080", ("http://[::1]:8080",)),
        ("CORS_ORIGINS", "http://localhost:8080", ("http://localhost:8080",)),
        ("CORS_ORIGINS", "capacitor://localhost", ("capacitor://localhost",)),
        ("CORS_ORIGINS", "chrome-extension://abcdef", ("chrome-extension://abcdef",)),
        ("TRUSTED_PROXIES", "10.0.0.0/8, fd00::/8, ::1", ("10.0.0.0/8", "fd00::/8", "::1")),
        ("MAX_STREAMS_PER_ADDRESS", "100", 100),
        ("HEARTBEAT_SECONDS", "0.5", 0.5),
        ("LOG_FORMAT", "json", "json"),
    ],
)
def test_the_environment_sets(
    environment: pytest.MonkeyPatch, name: str, text: str, value: object
) -> None:
    environment.setenv(PREFIX + name, text)
    assert getattr(load_settings(), name.lower()) == value


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ('listen = "0.0.0.0:80"', "listen", "0.0.0.0:80"),
        ('kafka_bootstrap = ["a:1", "b:2"]', "kafka_bootstrap", ("a:1", "b:2")),
        ('kafka_bootstrap = "a:1,b:2"', "kafka_bootstrap", ("a:1", "b:2")),
        ('jwt_algorithms = ["RS256"]', "jwt_algorithms", ("RS256",)),
        ("create_topics = true", "create_topics", True),
        ("heartbeat_seconds = 15", "heartbeat_seconds", 15),
        ("heartbeat_seconds = 0.5", "heartbeat_seconds", 0.5),
    ],
)
def test_a_file_sets(file: Path, line: str, name: str, value: object) -> None:
    file.write_text(line)
    assert getattr(load_settings(file), name) == value


def test_the_environment_wins_over_the_file_and_the_file_over_defaults_of_a_command(
    environment: pytest.MonkeyPatch, file: Path
) -> None:
    file.write_text('topic = "of-the-file"\nbroadcast_topic = "of-the-file-2"')
    environment.setenv("GATEWAY_TOPIC", "of-the-environment")
    settings = load_settings(
        file,
        topic="of-the-command",
        broadcast_topic="of-the-command",
        workers_topic="of-the-command",
    )
    assert settings.topic == "of-the-environment"
    assert settings.broadcast_topic == "of-the-file-2"
    assert settings.workers_topic == "of-the-command"


@pytest.mark.parametrize(
    ("name", "text", "word"),
    [
        ("LISTEN", "8080", "host:port"),
        ("LISTEN", "127.0.0.1", "host:port"),
        ("LISTEN", "127.0.0.1:", "host:port"),
        ("LISTEN", ":8080", "host:port"),
        ("LISTEN", "127.0.0.1:65536", "host:port"),
        ("LISTEN", "127.0.0.1:-1", "host:port"),
        ("LISTEN", "127.0.0.1:http", "host:port"),
        ("LISTEN", "http://127.0.0.1:8080", "host:port"),
        ("LISTEN", "::1:8080", "[::1]:8080"),
        ("LISTEN", "[]:8080", "host:port"),
        ("LISTEN", "127.0.0.1:8080\nx", "host:port"),
        ("LISTEN", "a..b:8080", "host:port"),
        ("LISTEN", "[127.0.0.1]:8080", "host:port"),
        ("LISTEN", "[x]:8080", "host:port"),
        ("KAFKA_BOOTSTRAP", "kafka..svc:9092", "'kafka..svc:9092' is not host:port"),
        ("KAFKA_BOOTSTRAP", "k:90922", "'k:90922' is not host:port"),
        ("KAFKA_BOOTSTRAP", "k:0", "'k:0' is not host:port"),
        ("KAFKA_BOOTSTRAP", "a:1,SASL_SSL://b:2", "'SASL_SSL://b:2' is not host:port"),
        ("KAFKA_BOOTSTRAP", f"{'a' * 64}.b:1", "is not host:port"),
        ("KAFKA_BOOTSTRAP", f"{'a.' * 130}b:1", "is not host:port"),
        ("KAFKA_BOOTSTRAP", "käfka:9092", "is not host:port"),
        ("KAFKA_SSL_CAFILE", "a\nb", "control character"),
        ("TOPIC", "orders.v1,payments", "One topic only"),
        ("TOPIC", "a b", "not a topic name"),
        ("TOPIC", "..", "not a topic name"),
        ("BROADCAST_TOPIC", "x" * 250, "not a topic name"),
        ("REVOCATIONS_TOPIC", "größe", "not a topic name"),
        ("WORKERS_TOPIC", "a/b", "not a topic name"),
        ("JWT_ISSUER", "", "it is empty"),
        ("JWT_ISSUER", "\n", "it is empty"),
        ("JWT_AUDIENCE", "", "it is empty"),
        ("JWT_ISSUER", "a\nb", "control character"),
        ("KAFKA_CLIENT_RACK", "r" * 32_768, "32,768 characters"),
        ("SOURCES", "a" * 5_000, "5,000 characters"),
        ("OPS_TOKEN", "a" * 20_000, "20,000 bytes"),
        ("JWT_SECRET", "a" * 20_000, "20,000 bytes"),
        ("JWT_USER_CLAIM", "", "at least 1 character"),
        ("JWT_USER_CLAIM", "\n", "at least 1 character"),
        ("TOKEN_COOKIE", "a b", "not a cookie name"),
        ("TOKEN_COOKIE", "a=b", "not a cookie name"),
        ("RETRY_MS", "2147483647", "less than or equal to 3600000"),
        ("RETRY_MS", "9" * 5000, "integer"),
        ("HEARTBEAT_SECONDS", "2147483", "less than or equal to 3600"),
        ("HEARTBEAT_SECONDS", "5e-324", "greater than or equal to 0.1"),
        ("REVOCATION_SECONDS", "1e308", "less than or equal to 315360000"),
        ("REPLAY_MAX_AGE_SECONDS", "3153600000", "less than or equal to 315360000"),
        ("TAIL_WARM_SECONDS", "3153600000", "less than or equal to 604800"),
        ("JWT_JWKS_URL", "https://a..b/x", "https://"),
        ("JWT_JWKS_URL", f"https://{'a' * 64}/x", "https://"),
        ("CORS_ORIGINS", "https://a.test:65536", "not an origin"),
        ("KAFKA_BOOTSTRAP", "", "host:port"),
        ("KAFKA_BOOTSTRAP", "kafka", "host:port"),
        ("KAFKA_BOOTSTRAP", "kafka:9092,other:nine", "host:port"),
        ("KAFKA_SECURITY_PROTOCOL", "TLS", "SASL_SSL"),
        ("TOPIC", "", "not a topic name"),
        ("CREATE_TOPICS", "perhaps", "boolean"),
        ("PARTITIONER", "random", "'murmur2' or 'crc32'"),
        ("HEARTBEAT_SECONDS", "often", "number"),
        ("HEARTBEAT_SECONDS", "0", "greater than or equal to 0.1"),
        ("HEARTBEAT_SECONDS", "nan", "finite"),
        ("DRAIN_SECONDS", "inf", "finite"),
        ("DRAIN_SECONDS", "-1", "greater than or equal to 0"),
        ("REPLAY_SCANS", "1.5", "integer"),
        ("LOG_LEVEL", "loud", "'debug'"),
        ("JWT_SECRET", "hunter2", "32 or more"),
        ("JWT_SECRET", "", "32 or more"),
        ("JWT_SECRET", "hunter2" * 6 + "\udcff", "not UTF-8"),
        ("OPS_TOKEN", "hunter2\udcff", "not UTF-8"),
        ("KAFKA_SASL_PASSWORD", "hunter2\udcff", "not UTF-8"),
        ("TOPIC", "events\udcff", "not UTF-8"),
        ("JWT_ALGORITHMS", "HS256,\udcff", "not UTF-8"),
        ("JWT_JWKS_URL", "", "https://"),
        ("JWT_JWKS_URL", "id.example.com/keys", "https://"),
        ("JWT_JWKS_URL", "http://id.example.com/keys", "loopback only"),
        ("JWT_JWKS_URL", "http://127.0.0.1.example.com/keys", "loopback only"),
        ("JWT_JWKS_URL", "http://localhost@id.example.com/keys", "loopback only"),
        ("JWT_JWKS_URL", "http://10.0.0.1/keys", "loopback only"),
        ("JWT_JWKS_URL", "https://me:hunter2@id.example.com/keys", "without user and password"),
        ("JWT_JWKS_URL", "https:///keys", "https://"),
        ("JWT_JWKS_URL", "https://id.example.com:port/keys", "https://"),
        ("JWT_JWKS_URL", "https://[::1/keys", "https://"),
        ("JWT_JWKS_URL", "https://id.example.com/a b", "https://"),
        ("JWT_JWKS_URL", "https://id.example.com/\nkeys", "https://"),
        ("JWT_JWKS_URL", "file:///etc/keys", "https://"),
        ("TRUSTED_PROXIES", "*", "10.0.0.0/8"),
        ("TRUSTED_PROXIES", "nginx", "10.0.0.0/8"),
        ("TRUSTED_PROXIES", "10.0.0.0/8,10.0.0.1:80", "'10.0.0.1:80' does not appear"),
        ("TRUSTED_PROXIES", "10.0.0.1/8", "host bits"),
        ("TRUSTED_PROXIES", "10.0.0.0/33", "10.0.0.0/8"),
        ("TRUSTED_PROXIES", "[::1]", "or ::1"),
        ("MAX_STREAMS", "0", "greater than or equal to 1"),
        ("MAX_STREAMS_PER_USER", "0", "greater than or equal to 1"),
        ("MAX_STREAMS_PER_ADDRESS", "none", "integer"),
        ("CORS_ORIGINS", "*", "Wildcards are not supported"),
        ("CORS_ORIGINS", "https://*.example.com", "Wildcards are not supported"),
        ("CORS_ORIGINS", "null", "not an origin"),
        ("CORS_ORIGINS", "app.example.com", "not an origin"),
        ("CORS_ORIGINS", "https://app.example.com,https://app.example.com/", "example.com/'"),
        ("CORS_ORIGINS", "https://app.example.com/page", "not an origin"),
        ("CORS_ORIGINS", "https://App.example.com", "lower case"),
        ("CORS_ORIGINS", "https://app.example.com:443", "default of the scheme"),
        ("CORS_ORIGINS", "http://app.example.com:80", "default of the scheme"),
        ("CORS_ORIGINS", "https://me@app.example.com", "not an origin"),
        ("CORS_ORIGINS", "https://bücher.example", "not an origin"),
        ("CORS_ORIGINS", "https://app.example.com\r\nX: 1", "not an origin"),
    ],
)
def test_invalid_value_is_reported_in_one_line_with_its_setting(
    environment: pytest.MonkeyPatch, name: str, text: str, word: str
) -> None:
    environment.setenv(PREFIX + name, text)
    said = refusal()
    assert said.startswith(PREFIX + name)
    assert word in said
    assert len(said.splitlines()) == 1
    assert said.isprintable()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"JWT_SECRET": SECRET, "JWT_PUBLIC_KEY_FILE": "k.pem"}, ["JWT_SECRET", "never mixed"]),
        ({"JWT_SECRET": SECRET, "JWT_ALGORITHMS": "HS256,RS256"}, ["has RS256,", "JWT_SECRET"]),
        ({"JWT_SECRET": SECRET, "JWT_ALGORITHMS": "none"}, ["has none,", "HS256"]),
        ({"JWT_JWKS_URL": "https://x", "JWT_ALGORITHMS": "HS256"}, ["has HS256,", "JWT_JWKS_URL"]),
        ({"TLS_CERTFILE": "c.pem"}, ["TLS_CERTFILE", "TLS_KEYFILE"]),
        ({"KAFKA_SSL_KEYFILE": "k.pem"}, ["KAFKA_SSL_CERTFILE", "KAFKA_SSL_KEYFILE"]),
        ({"KAFKA_SASL_USERNAME": "u"}, ["KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD"]),
        ({"KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}, ["SASL_SSL needs", "KAFKA_SASL_USERNAME"]),
        *(
            ({"OPS_LISTEN": f"{host}:8081"}, ["OPS_LISTEN is not on loopback", "OPS_TOKEN"])
            for host in BEYOND_LOOPBACK
        ),
        ({"OPS_LISTEN": "0.0.0.0:8081", "OPS_TOKEN": ""}, ["OPS_TOKEN is empty"]),
        ({"OPS_TOKEN": " "}, ["OPS_TOKEN is empty"]),
        ({"OPS_TOKEN": "a\nb"}, ["OPS_TOKEN holds", "no client can send"]),
        ({"LISTEN": "0.0.0.0:8080", "OPS_LISTEN": "127.0.0.1:8080"}, ["different ports"]),
        ({"LISTEN": "[::]:8080", "OPS_LISTEN": "127.0.0.1:8080"}, ["different ports"]),
        ({"LISTEN": "localhost:8081", "OPS_LISTEN": "127.0.0.1:8081"}, ["different ports"]),
        ({"OPS_LISTEN": "127.0.0.1:8080"}, ["LISTEN", "OPS_LISTEN", "different ports"]),
        ({"TOPIC": "same", "BROADCAST_TOPIC": "same"}, ["two settings", "same"]),
    ],
)
def test_settings_that_do_not_fit_together_are_one_line(
    environment: pytest.MonkeyPatch, settings: dict[str, str], words: list[str]
) -> None:
    for name, text in settings.items():
        environment.setenv(PREFIX + name, text)
    said = refusal()
    assert all(word in said for word in words), said
    assert len(said.splitlines()) == 1
    assert SECRET not in said


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("GATEWAY_LISTN", "; did you mean GATEWAY_LISTEN?"),
        ("GATEWAY_HEARTBEAT", "; did you mean GATEWAY_HEARTBEAT_SECONDS?"),
        ("GATEWAY_KAFKA_BOOTSTRAP_SERVERS", "; did you mean GATEWAY_KAFKA_BOOTSTRAP?"),
    ],
)
def test_variable_close_to_a_setting_is_refused_with_a_hint(
    environment: pytest.MonkeyPatch, name: str, hint: str
) -> None:
    environment.setenv(name, "hunter2")
    assert refusal() == f"{name}: there is no such setting{hint}"


# Variables that Kubernetes sets for a Service named `gateway`, or that other programs may use.
FOREIGN = [
    "GATEWAY_", "GATEWAY_ENV", "GATEWAY_IMAGE", "GATEWAY_PORT", "GATEWAY_PORT_8080_TCP",
    "GATEWAY_PORT_8080_TCP_ADDR", "GATEWAY_PORT_8080_TCP_PORT", "GATEWAY_PORT_8080_TCP_PROTO",
    "GATEWAY_SERVICE_HOST", "GATEWAY_SERVICE_PORT", "GATEWAY_SERVICE_PORT_HTTP", "GATEWAY_VERSION",
    "GATEWAY_XYZZY",
]  # fmt: skip


@pytest.mark.parametrize("name", FOREIGN)
def test_variable_of_another_program_is_reported_and_not_refused(
    environment: pytest.MonkeyPatch, name: str
) -> None:
    environment.setenv(name, "tcp://10.0.0.1:8080")
    load_settings()
    assert foreign_variables() == [name]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("JWT_ISSUER", "https://id.example.com\n", "https://id.example.com"),
        ("JWT_AUDIENCE", " gateway\r\n", "gateway"),
        ("JWT_USER_CLAIM", "uid\n", "uid"),
        ("JWT_SESSION_CLAIM", "session\n", "session"),
        ("TOPIC", "orders.v1\n", "orders.v1"),
        ("WORKERS_TOPIC", "\n", ""),
        ("TOKEN_COOKIE", "session\n", "session"),
        ("LISTEN", "127.0.0.1:8080\n", "127.0.0.1:8080"),
        ("KAFKA_BOOTSTRAP", "a:1\n,b:2\n", ("a:1", "b:2")),
        ("JWT_JWKS_URL", "https://id.example.com/keys\n", "https://id.example.com/keys"),
        ("KAFKA_SASL_USERNAME", "", None),
        ("KAFKA_SSL_CAFILE", "", None),
        ("REGISTRY", "", None),
        ("TOKEN_COOKIE", "", None),
    ],
)
def test_line_break_at_the_end_is_removed_and_an_empty_option_is_unset(
    environment: pytest.MonkeyPatch, name: str, text: str, value: object
) -> None:
    environment.setenv(PREFIX + name, text)
    assert getattr(load_settings(), name.lower()) == value


def test_secret_for_text_loses_its_line_break_and_an_hmac_key_does_not(
    environment: pytest.MonkeyPatch,
) -> None:
    secrets = {"OPS_TOKEN": "hunter2", "KAFKA_SASL_PASSWORD": " hunter2 ", "JWT_SECRET": SECRET}
    for name, text in secrets.items():
        environment.setenv(PREFIX + name, f"{text}\n")
    environment.setenv("GATEWAY_KAFKA_SASL_USERNAME", "me")
    settings = load_settings()
    assert settings.ops_token is not None
    assert settings.ops_token.get_secret_value() == "hunter2"
    assert settings.kafka_sasl_password is not None
    assert settings.kafka_sasl_password.get_secret_value() == " hunter2 "
    assert settings.jwt_secret is not None
    assert settings.jwt_secret.get_secret_value() == f"{SECRET}\n"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('listn = "x"', "listn: a file has no such setting; did you mean listen?"),
        ("[gateway]\nx = 1", "gateway: a file has no such setting"),
        (
            'GATEWAY_LISTEN = "127.0.0.1:1"',
            "GATEWAY_LISTEN: a file has no such setting; did you mean listen?",
        ),
        ('jwt_secret = ["hunter2"]', "GATEWAY_JWT_SECRET: Input should be a valid string"),
        ("listen = 8080", "GATEWAY_LISTEN: write it as host:port"),
        ("jwt_algorithms = [1]", "GATEWAY_JWT_ALGORITHMS: Input should be a valid string"),
        ("heartbeat_seconds = inf", "GATEWAY_HEARTBEAT_SECONDS: Input should be a finite number"),
    ],
)
def test_invalid_line_in_a_file_is_reported_in_one_line_with_its_setting(
    file: Path, line: str, said: str
) -> None:
    file.write_text(line)
    text = refusal(file)
    assert text.startswith(said)
    assert len(text.splitlines()) == 1


@pytest.mark.parametrize(
    "content",
    [
        b"listen = ",
        b"\xff",
        b'topic = "a"\ntopic = "b"',
        b"retry_ms = " + b"9" * 5000,
        b"retry_ms = " + b"[" * 5000,
        None,
    ],
)
def test_unreadable_file_is_reported_in_one_line_with_its_name(
    file: Path, content: bytes | None
) -> None:
    if content is not None:
        file.write_bytes(content)
    text = refusal(file)
    assert text.startswith(f"{file}: ")
    assert len(text.splitlines()) == 1


def test_all_mistakes_are_reported_together(environment: pytest.MonkeyPatch, file: Path) -> None:
    file.write_text("retry_ms = -1")
    environment.setenv("GATEWAY_LISTN", "x")
    environment.setenv("GATEWAY_TOPIC", "")
    assert {line.partition(":")[0] for line in refusal(file).splitlines()} == {
        "GATEWAY_LISTN",
        "GATEWAY_TOPIC",
        "GATEWAY_RETRY_MS",
    }


@pytest.mark.parametrize("host", BEYOND_LOOPBACK)
def test_the_operations_listener_may_leave_loopback_with_a_token(host: str) -> None:
    settings = load_settings(None, ops_listen=f"{host}:8081", ops_token="hunter2")
    assert settings.ops_listen.host == host.strip("[]")


def test_listeners_on_ports_that_the_system_chooses_do_not_meet() -> None:
    settings = load_settings(None, listen="127.0.0.1:0", ops_listen="127.0.0.1:0")
    assert settings.listen.port == settings.ops_listen.port == 0


def test_a_secret_is_shown_nowhere() -> None:
    secrets = {
        "jwt_secret": f"{SECRET} hunter2",
        "ops_token": "hunter2",
        "kafka_sasl_username": "me",
        "kafka_sasl_password": "hunter2",
    }
    settings = load_settings(None, **secrets)
    for shown in (repr(settings), str(settings), settings.model_dump_json()):
        assert "hunter2" not in shown


def test_settings_do_not_change(environment: pytest.MonkeyPatch) -> None:
    settings = load_settings()
    with pytest.raises(ValueError, match="frozen"):
        settings.topic = "another"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "host", "port", "loopback"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080, True),
        ("127.8.8.8:1", "127.8.8.8", 1, True),
        ("localhost:0", "localhost", 0, True),
        ("[::1]:8080", "::1", 8080, True),
        ("0.0.0.0:8080", "0.0.0.0", 8080, False),
        ("[::]:8080", "::", 8080, False),
        ("10.0.0.1:80", "10.0.0.1", 80, False),
        ("127.example.com:80", "127.example.com", 80, False),
    ],
)
def test_an_address(text: str, host: str, port: int, loopback: bool) -> None:
    address = Address(text)
    assert (address.host, address.port, address.is_loopback) == (host, port, loopback)


@pytest.mark.parametrize(
    ("values", "algorithms"),
    [
        ({"jwt_secret": SECRET}, ["HS256"]),
        ({"jwt_secret": SECRET, "jwt_algorithms": ["HS512"]}, ["HS512"]),
        ({"jwt_public_key_file": "k.pem"}, ["RS256", "ES256", "EdDSA"]),
        ({"jwt_public_key_file": "k.pem", "jwt_algorithms": ["ES256"]}, ["ES256"]),
    ],
)
def test_the_algorithms_go_with_the_key(values: dict[str, object], algorithms: list[str]) -> None:
    settings = load_settings(None, **values)
    assert settings.algorithms == algorithms
    assert settings.require_key() is settings


def test_who_verifies_tokens_needs_a_key() -> None:
    with pytest.raises(SettingsError, match="GATEWAY_JWT_SECRET") as refused:
        load_settings().require_key()
    assert len(str(refused.value).splitlines()) == 1


def test_every_setting_has_a_description() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_every_number_has_an_upper_and_a_lower_bound() -> None:
    for name, field in Settings.model_fields.items():
        if field.annotation in {int, float, int | None, float | None}:
            bounds = {type(bound).__name__ for bound in field.metadata}
            assert {"Ge", "Le"} <= bounds, name


extremes = st.sampled_from(
    ["", " ", "\n", "0", "-0", "-1", "1", "1e308", "-1e308", "1e309", "5e-324", "nan", "inf",
     "-inf", "9" * 400, "2147483647", "2147483648", "9223372036854775808", "0x10", "1_0", "1.0",
     "true", "null", "[]", "{}", ",", "a,b", "a:1", "a..b:1", ":1", "[::1]:1", "[::1", "https://a..b/x",
     "https://[::1/x", "http://a:99999999/x", "/", ".", "..", "~", "/dev/null", "/no/such",
     "x" * 5000, "\x7f", "\u2028", "ü", "\udcff", "HS256", "none"]
)  # fmt: skip
texts = extremes | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
toml_values = (
    texts | st.integers() | st.floats() | st.booleans() | st.dates() | st.none()
    | st.lists(texts | st.integers(), max_size=3)
    | st.dictionaries(st.text(), st.integers(), max_size=2)
)  # fmt: skip
names = st.sampled_from(sorted(Settings.model_fields))


def is_sound_or_refused(make: Callable[[], Settings]) -> None:
    try:
        settings = make()
    except SettingsError as error:
        lines = str(error).splitlines()
        assert lines
        for line in lines:
            assert line.isprintable(), line
            assert len(line) < 1000
    else:
        assert settings.algorithms


@given(st.dictionaries(names, texts, min_size=1, max_size=4))
def test_any_environment_is_accepted_or_refused_in_lines(values: dict[str, str]) -> None:
    with pytest.MonkeyPatch.context() as environment:
        for name, text in values.items():
            environment.setenv(PREFIX + name.upper(), text)
        is_sound_or_refused(load_settings)


@given(st.dictionaries(names, toml_values, min_size=1, max_size=4))
def test_any_file_is_accepted_or_refused_in_lines(values: dict[str, object]) -> None:
    is_sound_or_refused(lambda: load_settings(None, **values))


def test_the_topic_settings_make_the_sources(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("GATEWAY_TOPIC", "mine")
    settings = load_settings()
    assert settings.event_sources == simple_sources("mine", "broadcast-events")
    assert settings.event_sources is settings.event_sources
