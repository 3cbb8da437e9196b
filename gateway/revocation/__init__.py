"""Revocations of sessions and users: records, and what is still to be written; pure."""
