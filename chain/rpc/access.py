"""Who may ask a node besides programs on its own machine: hosts and origins that its operator names."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv6Address
from typing import TYPE_CHECKING, Final, Self

from chain.errors import ChainError

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection

_LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_NAME: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_PORT: Final = re.compile(r"[1-9][0-9]{0,4}")
_NAME_LENGTH: Final = 253  # RFC 1035
_LAST_PORT: Final = 65_535
_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}


class AccessError(ChainError):
    """A host or an origin that no browser or proxy would write so; the message is one line."""


@dataclass(frozen=True, slots=True)
class Access:
    """Who may ask besides programs on this machine.

    `hosts`: names that a `Host` header may have, without port, in lower case; `origins`: origins of pages, as browsers
    write them (`https://example.org`). `Access.of` checks both.
    """

    hosts: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()

    @classmethod
    def of(cls, hosts: Iterable[str] = (), origins: Iterable[str] = ()) -> Self:
        """Check what an operator wrote; letters of either case. Raises AccessError for what could never match.

        A wildcard is refused too: with it any page that somebody on this machine opens could ask the node.
        """
        return cls(frozenset(map(_host, hosts)), frozenset(map(_origin, origins)))

    def refusal(self, request: "HTTPConnection") -> str | None:
        """Say why a request is refused; None when it is not.

        An origin that is one word is a program's that introduces itself (titanoboa does): browsers send `null` or an
        address.
        """
        host = request.headers.get("host", "").lower()
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        if name not in _LOOPBACK_NAMES and name not in self.hosts:
            return "this server answers to localhost only; the Host header names another\n"
        origin = request.headers.get("origin")
        if origin is not None and origin not in self.origins and (origin == "null" or not origin.isalnum()):
            return "requests from web pages are refused (Origin header)\n"
        return None


LOCAL: Final = Access()
"""Nobody but programs on this machine."""


def _host(text: str) -> str:
    host = text.lower()
    if not _is_host(host):
        message = (
            f"{text!r} is no host: give a name or an address without port, such as node.example.org or [2001:db8::1]"
        )
        raise AccessError(message)
    return host


def _origin(text: str) -> str:
    """Bring an origin into the form in which browsers send it: no path, no default port, lower case (RFC 6454)."""
    origin = text.lower()
    scheme, _, rest = origin.partition("://")
    host, colon, port = rest.rpartition(":") if not rest.endswith("]") else (rest, "", "")
    if not colon:
        host, port = rest, ""
    well_formed = _PORT.fullmatch(port) is not None and int(port) <= _LAST_PORT if colon else not port
    if scheme not in _DEFAULT_PORTS or not _is_host(host) or not well_formed:
        message = f"{text!r} is no origin: give scheme and host, and the port unless it is the usual one, such as https://app.example.org"
        raise AccessError(message)
    return f"{scheme}://{host}" if port in {"", _DEFAULT_PORTS[scheme]} else origin


def _is_host(host: str) -> bool:
    if host.startswith("[") and host.endswith("]"):
        try:
            return host == f"[{IPv6Address(host[1:-1])}]"  # as everybody writes it (RFC 5952)
        except AddressValueError:
            return False
    return len(host) <= _NAME_LENGTH and _NAME.fullmatch(host) is not None
