"""Refuses requests that do not come from this server's own pages, and sets the headers of every response.

A server on loopback can be reached by every page that a browser of this machine has open. If a page from elsewhere
makes its own host name resolve to this machine (DNS rebinding), its requests have that name as ``Host``; if it sends
requests to this server's address, they have the page's origin as ``Origin``. Only this server's own address is accepted
in either header.
"""

from __future__ import annotations

import hmac

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TOKEN_HEADER = "x-proctor-token"  # noqa: S105 - the name of a header

_HEADERS = {
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
_NOTHING_ALLOWED = "default-src 'none'; frame-ancestors 'none'"


class Guard:
    """Guards an application that is reached at each of ``hosts`` (``host:port``).

    A request that is neither GET nor HEAD must also carry ``token``.
    """

    def __init__(self, app: ASGIApp, hosts: frozenset[str], token: str) -> None:
        self._app, self._hosts, self._token = app, hosts, token
        self._origins = {f"http://{host}" for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            raise RuntimeError(f"nothing is served over {scope['type']}")
        refusal = self._refusal(scope["method"], Headers(scope=scope))
        app = self._app if refusal is None else refusal
        await app(scope, receive, _with_headers(send))

    def _refusal(self, method: str, headers: Headers) -> ASGIApp | None:
        if headers.get("host") not in self._hosts or len(headers.getlist("host")) != 1:
            return PlainTextResponse(
                "The Host header is not the address of this server. Through a tunnel, use the same port on both "
                "machines: ssh -L PORT:localhost:PORT MACHINE",
                421,
            )
        if any(origin not in self._origins for origin in headers.getlist("origin")):
            return PlainTextResponse("The request comes from a page of another origin.", 403)
        if method not in ("GET", "HEAD") and not self._has_token(headers):
            return PlainTextResponse("The request does not carry the token of this server's pages.", 403)
        return None

    def _has_token(self, headers: Headers) -> bool:
        return hmac.compare_digest(headers.get(TOKEN_HEADER, "").encode(), self._token.encode())


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers[name] = value
            headers.setdefault("content-security-policy", _NOTHING_ALLOWED)
        await send(message)

    return sending
