"""An identity provider: keys that sign tokens, and a URL that publishes them."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

PrivateKey = (
    rsa.RSAPrivateKey
    | ec.EllipticCurvePrivateKey
    | ed25519.Ed25519PrivateKey
    | ed448.Ed448PrivateKey
)

CURVES = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}


class SigningKey:
    """A key, its name, and the algorithm that it signs with."""

    def __init__(self, algorithm: str, kid: str | None = None) -> None:
        self.algorithm = algorithm
        self.kid = kid
        self.private: PrivateKey
        if algorithm in CURVES:
            self.private = ec.generate_private_key(CURVES[algorithm])
        elif algorithm == "EdDSA":
            self.private = ed25519.Ed25519PrivateKey.generate()
        else:
            self.private = rsa.generate_private_key(65537, 2048)

    @property
    def public_pem(self) -> bytes:
        """The public half as PEM."""
        public = self.private.public_key()
        return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def jwk(self, **members: object) -> dict[str, Any]:
        """Return the public half as a JWK; a member given as None is left out."""
        method: Any = jwt.get_algorithm_by_name(self.algorithm)
        made = method.to_jwk(self.private.public_key(), as_dict=True)
        made.pop("key_ops", None)
        every = {**made, "kid": self.kid, **members}
        return {name: value for name, value in every.items() if value is not None}

    def mint(
        self,
        user: str = "alice",
        *,
        header: dict[str, Any] | None = None,
        lifetime: float = 3600,
        **claims: object,
    ) -> str:
        """Return a token that this key signs; a header or claim given as None is left out."""
        now = time.time()
        every = {"sub": user, "iat": now, "exp": now + lifetime, **claims}
        return jwt.encode(
            {name: value for name, value in every.items() if value is not None},
            self.private,
            algorithm=self.algorithm,
            headers={"kid": self.kid, **(header or {})} if self.kid is not None else header,
        )


def key_set(*keys: SigningKey | dict[str, Any]) -> bytes:
    """Return the document that publishes these keys."""
    jwks = [key.jwk() if isinstance(key, SigningKey) else key for key in keys]
    return json.dumps({"keys": jwks}).encode()


class KeyUrl:
    """A URL on loopback that answers with `document`, and `status`; it counts what it is asked."""

    def __init__(self) -> None:
        self.document = b""
        self.status = 200
        self.headers: dict[str, str] = {}
        self.asked = 0
        self.url = ""
        self.answering = asyncio.Event()
        self.answering.set()

    async def answer(self, _: web.Request) -> web.Response:
        self.asked += 1
        await self.answering.wait()
        return web.Response(body=self.document, status=self.status, headers=self.headers)


@asynccontextmanager
async def published(
    *keys: SigningKey | dict[str, Any], port: int = 0, context: ssl.SSLContext | None = None
) -> AsyncIterator[KeyUrl]:
    """Publish keys until the block ends."""
    it = KeyUrl()
    it.document = key_set(*keys)
    app = web.Application()
    app.router.add_get("/keys", it.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context).start()
        where = "http://127.0.0.1" if context is None else "https://localhost"
        it.url = f"{where}:{runner.addresses[0][1]}/keys"
        yield it
    finally:
        it.answering.set()
        await runner.cleanup()
