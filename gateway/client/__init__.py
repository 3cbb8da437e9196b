"""Reading a user's stream from Python: typed events, resumed exactly, also after a restart.

    from gateway.client import Event, EventStream, Gap

    async with EventStream(url, token, categories=["import"]) as stream:
        async for item in stream:
            match item:
                case Event(type="import.completed"):
                    show(item.decode(Import))
                case Gap():
                    await fetch_the_state_again()

It needs aiohttp and msgspec, and nothing of a worker's. `docs/clients.md` tells the rest.
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
