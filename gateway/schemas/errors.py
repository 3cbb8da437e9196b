"""Errors of schemas and of the values written with them."""

from __future__ import annotations


class SchemaError(Exception):
    """Base of the errors in this package; the text states the cause and holds no record data."""


class InvalidSchema(SchemaError):
    """A schema that cannot be compiled."""


class UnknownSchema(SchemaError):
    """A schema that the registry does not have."""


class RegistryUnavailable(SchemaError):
    """The registry does not answer, or rejects the request."""


class Malformed(SchemaError):
    """A value that does not match its schema."""


class TooLarge(SchemaError):
    """A value whose JSON would be larger than a record may be."""
