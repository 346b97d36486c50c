"""Amounts, shares and durations as people read them."""

from decimal import ROUND_HALF_EVEN, Context, Decimal

TOKEN_DECIMALS = 18
_EXACT = Context(prec=100)
_SIGNIFICANT = Context(prec=3, rounding=ROUND_HALF_EVEN)


def tokens(wei: int) -> str:
    """Tokens with the digits that matter: `100`, `1,234.50`, three significant digits below one token; 0 is `0`."""
    exact = _EXACT.divide(Decimal(wei), Decimal(10**TOKEN_DECIMALS))
    if abs(exact) >= 1:
        rounded = exact.quantize(Decimal("0.01"), rounding=ROUND_HALF_EVEN, context=_EXACT)
        return f"{rounded:,f}".removesuffix(".00")
    return _trim(f"{_SIGNIFICANT.plus(exact):f}")


def tokens_exact(wei: int) -> str:
    """Tokens to the last wei, without trailing zeros."""
    return _trim(f"{_EXACT.divide(Decimal(wei), Decimal(10**TOKEN_DECIMALS)):,f}")


def duration(seconds: float) -> str:
    """`41 s`, `3:07 min` or `2:04:11 h`, whole seconds."""
    whole = round(seconds)
    if whole < 60:  # noqa: PLR2004 - seconds in a minute
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02} h" if hours else f"{minutes}:{rest:02} min"


def data_size(count: int) -> str:
    """Bytes in decimal units with three digits: `999 B`, `1.23 MB`."""
    value, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while value >= 999.5 and len(units) > 1:  # noqa: PLR2004 - would print as 1000
        value, units = value / 1000, units[1:]
    return f"{value:.0f} B" if units[0] == "B" else f"{value:.3g} {units[0]}"


def _trim(digits: str) -> str:
    return digits.rstrip("0").rstrip(".") if "." in digits else digits
