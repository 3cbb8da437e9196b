"""A Python client for a user's stream: typed events, exact resume, also after a restart.

    from gateway.client import Event, EventStream, Gap

    async with EventStream(url, token, categories=["import"]) as stream:
        async for item in stream:
            match item:
                case Event(type="import.completed"):
                    show(item.decode(Import))
                case Gap():
                    await fetch_the_state_again()

The package needs aiohttp and msgspec, and no part of a worker. See `docs/clients.md`.
"""

from gateway.client.id_file import Delivery, IdFile
from gateway.client.messages import Close, Event, Gap, Interrupted, Item, Message, Opened
from gateway.client.stream import EventStream
from gateway.client.token import TokenSource
from gateway.errors import IdFileError, NotAStream, RequestRefused, StreamRefused, TokenRefused

__all__ = [
    "Close",
    "Delivery",
    "Event",
    "EventStream",
    "Gap",
    "IdFile",
    "IdFileError",
    "Interrupted",
    "Item",
    "Message",
    "NotAStream",
    "Opened",
    "RequestRefused",
    "StreamRefused",
    "TokenRefused",
    "TokenSource",
]
