"""Common clients, each with its own library: they must get everything that a worker sends.

All take the same: the URL, a file that holds the token, and the id to begin with. All tell the
same: a line of JSON for each event, with its type, id and payload.
"""
