"""The publisher library: `from gateway.publisher import EventPublisher`."""

from gateway.errors import PublishError
from gateway.publisher.publisher import WINDOW, EventPublisher
from gateway.publisher.sending import Delivery

__all__ = ["WINDOW", "Delivery", "EventPublisher", "PublishError"]
