from __future__ import annotations

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
from tests.no_settings import remove_settings
from tests.tokens import SECRET


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "gateway.toml"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    return remove_settings(monkeypatch)


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
