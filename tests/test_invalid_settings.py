"""Invalid settings are reported in one line each, with the setting and the remedy."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from gateway.config import load_settings
from gateway.errors import SettingsError
from gateway.settings.secret_settings import PREFIX
from tests.no_settings import remove_settings
from tests.tokens import SECRET

BEYOND_LOOPBACK = [
    "0.0.0.0", "[::]", "10.0.0.1", "[fd00::1]", "[::ffff:10.0.0.1]", "gateway.internal",
    "127.example.com", "localhost.example.com", "0",
]  # fmt: skip


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    return remove_settings(monkeypatch)


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
