"""The keys of all issuers that the settings name, and how their absence shows."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from gateway.http.auth.jwks_client import JwksClient, fetch_issuer_keys, fetch_key_set
from gateway.http.auth.keys import Keys, OneKey

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.config import Settings
    from gateway.readiness import NotReadyReason, Readiness


class SigningKeys:
    """The keys that verify tokens: of one issuer, or of each issuer by its name.

    Run each of `clients` as a task. Raises `SettingsError` for a key that cannot be used.
    """

    each: Keys | Mapping[str, Keys]

    def __init__(self, settings: Settings, readiness: Readiness) -> None:
        settings.require_key()
        self.clients: list[JwksClient] = []
        if settings.oidc_issuers:
            any_of_them = _AnyIssuer(readiness)
            hosts = settings.oidc_http_hosts
            self.each = by_name = {
                issuer.issuer: JwksClient(
                    partial(fetch_issuer_keys, issuer, hosts),
                    any_of_them,
                    setting=f"GATEWAY_OIDC_ISSUERS: {issuer.issuer}",
                    url=issuer.keys_at,
                )
                for issuer in settings.oidc_issuers
            }
            self.clients += by_name.values()
        elif (url := settings.jwt_jwks_url) is not None:
            self.each = client = JwksClient(
                partial(fetch_key_set, url, settings.algorithms), readiness, url=url
            )
            self.clients.append(client)
        else:
            self.each = OneKey(settings)

    @property
    def fresh(self) -> bool:
        """Whether the last fetch of each issuer's keys succeeded."""
        return all(client.fresh for client in self.clients)


class _AnyIssuer:
    """Readiness as the clients of several issuers see it: the keys of one are enough.

    The outage of one identity provider must not lock out the users of the others.
    """

    def __init__(self, readiness: Readiness) -> None:
        self._readiness = readiness
        self._any_ready = False

    def set_reason(self, reason: NotReadyReason, detail: str) -> bool:
        return not self._any_ready and self._readiness.set_reason(reason, detail)

    def clear(self, *reasons: NotReadyReason) -> bool:
        self._any_ready = True
        return self._readiness.clear(*reasons)
