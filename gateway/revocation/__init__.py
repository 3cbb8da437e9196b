"""Revocations of sessions and users: table, records and pending writes; pure."""
