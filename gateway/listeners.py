"""The two HTTP servers of a worker: the public listener and the operations listener."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from aiohttp import web

from gateway.api.documents import operations_documents, public_documents
from gateway.http.admission import StreamAdmission
from gateway.http.caller import Callers
from gateway.http.documents import document_routes
from gateway.http.origins import Origins
from gateway.http.problem import problems
from gateway.http.public import EventsEndpoint, public_app
from gateway.http.refusals import Refusals, metadata_routes
from gateway.http.request_reader import RequestReader
from gateway.http.shards import Shards
from gateway.http.siblings import Siblings
from gateway.http.transport.listen import REQUEST_LIMITS
from gateway.http.transport.malformed import server_log
from gateway.ops.explain import id_routes
from gateway.ops.listener import ops_app
from gateway.ops.traced import traced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aiohttp.web_routedef import AbstractRouteDef

    from gateway.http.auth.tokens import Authenticator
    from gateway.http.transport.handover import Handover
    from gateway.ops.spans import Spans
    from gateway.parts import Parts


class PublicListener(NamedTuple):
    """The endpoint that opens streams, and the server for all other requests."""

    endpoint: EventsEndpoint
    runner: web.AppRunner


def public_listener(
    parts: Parts,
    authenticator: Authenticator,
    handover: Handover | None,
    spans: Spans | None,
    routes: Iterable[AbstractRouteDef],
) -> PublicListener:
    """Return the public listener: streams, documents and `routes`.

    `handover` passes connections to other worker processes of the machine, if there are any.
    `spans` are those of a worker with tracing.
    """
    settings, registry = parts.settings, parts.registry
    origins, callers = Origins(settings.cors_origins), Callers(settings.trusted_proxies)
    shards = siblings = None
    if settings.sharding == "redirect":
        shards = Shards(parts)
    if handover is not None:
        siblings = Siblings(settings, authenticator, handover)
    admission = StreamAdmission(settings, parts.hub)
    reader = RequestReader(parts, authenticator, origins, callers, admission)
    endpoint = EventsEndpoint(parts, reader, shards, siblings)
    middlewares = [problems(callers, parts.metrics, Refusals(settings).answer)]
    if spans is not None:
        middlewares.insert(0, traced(spans))
    documents = document_routes(public_documents(settings, registry))
    routes = [*documents, *metadata_routes(settings, registry), *routes]
    app = public_app(endpoint, origins, middlewares, routes)
    logger = server_log(parts.metrics)
    return PublicListener(
        endpoint, web.AppRunner(app, access_log=None, logger=logger, **REQUEST_LIMITS)
    )


def ops_runner(
    parts: Parts, end: Callable[[], None], routes: Iterable[AbstractRouteDef]
) -> web.AppRunner:
    """Return the server of the operations listener; `end` asks the worker to stop."""
    app = ops_app(
        parts.settings,
        parts.readiness,
        parts.metrics,
        end,
        [
            *routes,
            *id_routes(parts.hub),
            *document_routes(operations_documents(parts.settings, parts.registry)),
        ],
    )
    return web.AppRunner(app, access_log=None, logger=server_log(None))
