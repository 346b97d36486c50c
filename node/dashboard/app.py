"""The dashboard's ASGI application: its routes, what every answer says to the browser, and who may ask.

Who may ask: browsers on this machine. A request that names another host (DNS rebinding) is refused, and so is every
method but GET. Pages load nothing from elsewhere and run no script but ours; what a sponsor or a client wrote is text.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import plotly
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from node.dashboard.pages import Pages, Sources
from node.dashboard.rendering import HERE

PLOTLY: Final = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
_FOR_EVER: Final = "public, max-age=31536000, immutable"


def application(sources: Sources, asked: Callable[[], None] = lambda: None) -> Starlette:
    """Make the application over what pages read from; `asked` is called with every request."""
    pages = Pages(sources)
    app = Starlette(
        routes=[*pages.routes(), *_static()],
        exception_handlers=pages.failures(),
    )
    app.add_middleware(Guard, asked=asked)
    return app


class Guard:
    """Refuses other hosts and other methods, and adds the headers that every answer has."""

    def __init__(self, app: ASGIApp, asked: Callable[[], None]) -> None:
        """Stand before `app`."""
        self._app, self._asked = app, asked

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        refusal = _refusal(scope)
        if refusal is None:
            self._asked()
        await (self._app if refusal is None else refusal)(scope, receive, guarded)


def _refusal(scope: Scope) -> Response | None:
    host = Headers(scope=scope).get("host", "").lower()
    if (host if host.endswith("]") else host.rsplit(":", 1)[0]) not in _HOSTS:
        return PlainTextResponse("the dashboard answers to localhost only; the Host header names another\n", 403)
    if scope["method"] not in {"GET", "HEAD"}:
        return PlainTextResponse("the dashboard only shows: GET\n", 405, {"allow": "GET, HEAD"})
    return None


def _static() -> list[Route]:
    """Serve our style and script anew each time, and Plotly's for ever: its name has its version."""
    routes = [_file(f"/static/{path.name}", path, "no-cache") for path in sorted((HERE / "static").iterdir())]
    return [*routes, _file(f"/static/plotly-{plotly.__version__}.js", PLOTLY, _FOR_EVER)]


def _file(url: str, path: Path, caching: str) -> Route:
    async def serve(_: Request) -> Response:
        return FileResponse(path, headers={"cache-control": caching})

    return Route(url, serve)
