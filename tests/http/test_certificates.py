"""Certificates are renewed while streams stay open, and invalid ones are rejected."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator

import pytest

from gateway.errors import SettingsError
from gateway.http.transport.tls import Certificate
from tests.http.certificates import Files
from tests.http.raw_client import connected
from tests.http.served import Served, serving


@pytest.fixture
async def served(certificate: Certificate) -> AsyncIterator[Served]:
    async with serving(certificate.context) as it:
        yield it


async def accepts(served: Served, client: ssl.SSLContext) -> bool:
    """Whether a client that trusts that certificate can connect."""
    try:
        async with connected(served.port, client):
            return True
    except ssl.SSLCertVerificationError:
        return False


async def test_renewed_certificate_is_loaded_while_streams_stay_open(
    served: Served, files: Files, certificate: Certificate
) -> None:
    before = files.client
    async with connected(served.port, before) as client:
        await served.open(client)
        files.renew()
        assert not await accepts(served, files.client)

        assert certificate.refresh()

        assert await accepts(served, files.client)
        assert not await accepts(served, before)
        served.publish(b"1")
        assert (await client.chunk()).endswith(b"data: 1\n\n")


async def test_half_of_a_pair_leaves_the_old_one_until_the_other_half_comes(
    served: Served, files: Files, certificate: Certificate
) -> None:
    before = files.client
    good = files.keyfile.read_bytes()
    files.renew(certificate=False)
    assert not certificate.refresh()
    assert await accepts(served, before)

    files.write(files.keyfile, good)
    assert certificate.refresh()
    assert await accepts(served, before)


@pytest.mark.parametrize("content", [b"", b"no certificate", None])
async def test_unusable_certificate_files_are_logged_once_and_ignored(
    served: Served,
    files: Files,
    certificate: Certificate,
    content: bytes | None,
    capfd: pytest.CaptureFixture[str],
) -> None:
    before = files.client
    if content is None:
        files.certfile.unlink()
    else:
        files.write(files.certfile, content)
    assert [certificate.refresh() for _ in range(3)] == [False] * 3
    assert await accepts(served, before)
    assert capfd.readouterr().out.count("certificate not reloaded: the new files are invalid") == 1

    files.renew()
    assert certificate.refresh()
    assert await accepts(served, files.client)


def test_files_that_have_not_changed_are_not_loaded_again(certificate: Certificate) -> None:
    assert not certificate.refresh()


@pytest.mark.parametrize("damage", ["missing", "empty", "of another pair"])
def test_a_pair_that_cannot_be_used_stops_the_start_and_names_the_settings(
    files: Files, damage: str
) -> None:
    match damage:
        case "missing":
            files.keyfile.unlink()
        case "empty":
            files.certfile.write_bytes(b"")
        case _:
            files.renew(key=False)
    with pytest.raises(SettingsError) as refusal:
        Certificate(files.certfile, files.keyfile)
    text = str(refusal.value)
    assert text.startswith("GATEWAY_TLS_CERTFILE and GATEWAY_TLS_KEYFILE: ")
    assert str(files.certfile) in text
    assert "\n" not in text
