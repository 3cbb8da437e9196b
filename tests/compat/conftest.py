"""Fixtures of the integration tests, which go through the same door."""

from tests.integration.conftest import open_stream, user

__all__ = ["open_stream", "user"]
