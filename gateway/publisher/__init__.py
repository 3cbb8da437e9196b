"""The publisher library: `from gateway.publisher import EventPublisher`."""

from gateway.errors import PublishError
from gateway.publisher.publisher import WINDOW, Delivery, EventPublisher

__all__ = ["WINDOW", "Delivery", "EventPublisher", "PublishError"]
