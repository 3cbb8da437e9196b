"""Server-Sent Events from Kafka: every open stream is a cursor over the logs it follows.

`docs/design.md` explains the whole; `gateway.core` is the part without I/O.
"""

__version__ = "0.1.0"
