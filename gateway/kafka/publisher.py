"""Former module of `gateway.publisher`, kept for services that import it."""

from gateway.publisher import EventPublisher as EventPublisher
