"""Values written with a Schema Registry: framing, schemas by id, decoding to JSON.

Needs the extra `schemas` for Protobuf only.
"""
