"""The former place of `gateway.publisher`, for services that import it from here."""

from gateway.publisher import EventPublisher as EventPublisher
