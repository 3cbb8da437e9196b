"""Kafka clients: connections, cluster metadata, offset lookups, options from the settings."""
