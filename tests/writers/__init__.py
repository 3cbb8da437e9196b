"""Producers that are not ours, each with its own library: what they write, the gateway must find.

All take the same: "key TAB value" lines, written in that order. All tell the same: the partition of
each record.
"""
