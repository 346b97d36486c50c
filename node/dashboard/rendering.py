"""Templates and how they write hashes, times, shares and amounts. Everything is escaped unless it is markup of ours."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly import __version__ as plotly_version

from node.run.amounts import duration, tokens, tokens_exact
from node.run.history import PPB

HERE: Final = Path(__file__).parent
DASH: Final = "\N{EN DASH}"
_ENDS: Final = 8
_LONGEST_TEXT: Final = 200


def environment() -> Environment:
    """Return the environment of all templates; an unknown name in one is an error."""
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "hexadecimal": hexadecimal,
        "short": short,
        "when": when,
        "stamp": stamp,
        "share": share,
        "decimals": decimals,
        "count": count,
        "tokens": amount,
        "tokens_exact": lambda wei: tokens_exact(int(wei)),
        "seconds": seconds,
        "duration": duration,
        "percent": percent,
        "clipped": clipped,
        "part": part,
    }
    made.globals["plotly"] = plotly_version
    return made


def hexadecimal(value: bytes) -> str:
    """Write bytes as 0x and hexadecimal digits."""
    return f"0x{value.hex()}"


def short(value: bytes | str) -> Markup:
    """Write a hash by its ends, whole for whoever points at it."""
    text = value if isinstance(value, str) else hexadecimal(value)
    if len(text) <= 2 * _ENDS + 4:
        return Markup('<span class="hash">{}</span>').format(text)
    return Markup('<span class="hash" title="{}">{}…{}</span>').format(text, text[: _ENDS + 2], text[-_ENDS:])


def when(seconds_: int | None) -> Markup | str:
    """Write a block's time as the time of day, with the date for whoever points at it."""
    if seconds_ is None:
        return DASH
    moment = datetime.fromtimestamp(seconds_, UTC)
    mark = Markup('<time datetime="{}" title="{}">{}</time>')
    return mark.format(moment.isoformat(), stamp(seconds_), f"{moment:%H:%M:%S}")


def stamp(seconds_: int | None) -> str:
    """Write a time with its date."""
    return DASH if seconds_ is None else f"{datetime.fromtimestamp(seconds_, UTC):%Y-%m-%d %H:%M:%S} UTC"


def share(ppb: float | None) -> str:
    """Write parts per billion as a number up to 1."""
    return DASH if ppb is None else f"{ppb / PPB:.3f}"


def percent(value: float | None) -> str:
    """Write a share of 1 as a percentage."""
    return DASH if value is None else f"{value:.1%}"


def decimals(value: float | None) -> str:
    """Write a mean."""
    return DASH if value is None else f"{value:.2f}"


def count(value: int | None) -> str:
    """Write a number with its thousands apart."""
    return DASH if value is None else f"{value:,}"


def amount(wei: str | int | None) -> str:
    """Write wei as tokens, with the digits that matter."""
    return DASH if wei is None else tokens(int(wei))


def seconds(value: float | None) -> str:
    """Write a span below minutes with its decimals."""
    return DASH if value is None else f"{value:.2f} s"


def clipped(text: str) -> str:
    """Cut what somebody else wrote to a length that a page bears."""
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…"


def part(value: int | None) -> str:
    """Write a scoring rule's part: a share as a number, what is no share as it is."""
    if value is None:
        return ""
    return share(value) if -PPB <= value <= PPB else count(value)
