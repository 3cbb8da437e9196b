"""Convert requests to stream requests, with the same checks on both paths.

The acceptor opens most streams at once (`read`); aiohttp's handler has time to wait for a signing
key that is not known yet (`read_patiently`). The order is that of cost: size, places, token,
signature, revocation, query, scopes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.core.filter import EventFilter, Filters, Selection
from gateway.errors import NotReady
from gateway.http.auth.credentials import token_of
from gateway.http.caller import CALLER, Caller, Callers
from gateway.http.query import read_categories, read_opening, read_types
from gateway.http.scopes import Scopes

if TYPE_CHECKING:
    from aiohttp import web

    from gateway.core.request import StreamRequest
    from gateway.http.admission import StreamAdmission
    from gateway.http.auth.claims import Identity
    from gateway.http.auth.tokens import Authenticator
    from gateway.http.origins import Origins
    from gateway.parts import Parts

NEVER_READY = "this worker has not reached Kafka yet; try again in a moment"


class Asked(NamedTuple):
    """A request for a stream that may be opened if there is room."""

    opening: StreamRequest
    identity: Identity
    caller: Caller


class RequestReader:
    """Reads stream requests. Raises `HttpError` for a request that is rejected."""

    def __init__(
        self,
        parts: Parts,
        authenticator: Authenticator,
        origins: Origins,
        callers: Callers,
        admission: StreamAdmission,
    ) -> None:
        self._settings = parts.settings
        self._authenticator = authenticator
        self.origins = origins
        self._callers = callers
        self._registry = parts.registry
        self._readiness = parts.readiness
        self.admission = admission
        self._filters = Filters()
        self._scopes = Scopes(parts.registry, parts.settings.scope_prefix)

    def read(self, request: web.Request) -> Asked:
        """Return the stream request. Raises `UnknownKey` if a newer key may help."""
        identity = self._authenticator.authenticate(self._token(request))
        return self._asked(request, identity, self._callers.identify(request))

    async def read_patiently(self, request: web.Request) -> Asked:
        """Return the stream request; waits briefly for an unknown signing key."""
        identity = await self._authenticator.identify(self._token(request))
        return self._asked(request, identity, request[CALLER])

    def confirm(self, asked: Asked) -> None:
        """Raise `Unauthorized` if the token was revoked after it was read."""
        self._authenticator.admit(asked.identity)

    def _token(self, request: web.Request) -> str:
        self.admission.check(request)
        return token_of(request, self._settings, self.origins)

    def _asked(self, request: web.Request, identity: Identity, caller: Caller) -> Asked:
        opening = read_opening(request, identity)
        chosen = self._filter(request, identity)
        if not self._readiness.ever:
            raise NotReady(NEVER_READY)
        opening = opening._replace(filter=chosen, address=self.admission.address(caller))
        return Asked(opening, identity, caller)

    def _filter(self, request: web.Request, identity: Identity) -> EventFilter | None:
        """Return the filter of the query within the token's scopes."""
        categories = read_categories(request.query, self._registry.categories)
        types = read_types(request.query)
        wanted = [Selection(categories)] if categories else []
        if types is not None:
            wanted.append(types)
        return self._filters.find(self._scopes.limit(identity.scopes, wanted))
