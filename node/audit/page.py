"""The report of an audit as a page that needs nothing but itself."""

from decimal import Decimal
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from node.audit.report import AuditReport

MOST_ROUNDS = 200
"""Rounds whose sums a page shows."""
_WEI = Decimal(10**18)


def page(report: "AuditReport") -> str:
    """Return the page: the verdict, what diverges, what was verified, what is to be known, and rewards in numbers."""
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415 - only a page needs it

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["tokens"] = lambda wei: f"{Decimal(wei) / _WEI:f}"
    template = environment.from_string((files("node.audit") / "page.html").read_text(encoding="utf-8"))
    return template.render(report=report, most=MOST_ROUNDS)
