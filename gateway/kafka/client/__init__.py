"""Kafka clients: connections, cluster metadata, offset lookups, options."""
