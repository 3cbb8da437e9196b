from __future__ import annotations

import hashlib

import pytest

from gateway.config import load_settings
from gateway.errors import SettingsError
from gateway.ops.pseudonyms import Pseudonyms, pseudonyms
from tests.tokens import SECRET

KEY = "a key for the log: 32 bytes or more."


def test_pseudonym_matches_the_openssl_hmac() -> None:
    """printf %s alice | openssl dgst -sha256 -hmac "$GATEWAY_LOG_KEY"."""
    names = pseudonyms(load_settings(None, jwt_secret=SECRET, log_key=KEY))
    assert names.name(b"alice") == "63cd6c7b78af783c"


def test_pseudonym_is_not_a_plain_hash() -> None:
    assert Pseudonyms(b"key").name(b"7") not in hashlib.sha256(b"7").hexdigest()
    assert Pseudonyms(b"key").name(b"7") != Pseudonyms(b"another").name(b"7")


def test_without_a_key_names_hold_for_one_start() -> None:
    settings = load_settings(None, jwt_secret=SECRET)
    first, second = pseudonyms(settings), pseudonyms(settings)
    assert first.name(b"alice") == first.name(b"alice") != first.name(b"bob")
    assert first.name(b"alice") != second.name(b"alice")


def test_users_stand_there_as_they_are_where_that_is_set() -> None:
    names = pseudonyms(load_settings(None, jwt_secret=SECRET, log_users="plain", log_key=KEY))
    assert names.name("alïce".encode()) == "alïce"


def test_a_key_that_can_be_guessed_is_refused() -> None:
    with pytest.raises(SettingsError, match="GATEWAY_LOG_KEY has 5 bytes, it needs 32 or more"):
        load_settings(None, jwt_secret=SECRET, log_key="short")
