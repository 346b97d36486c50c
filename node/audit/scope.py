"""What a bundle or a receipt is about: its first entry, canonical JSON."""

from typing import Annotated

import msgspec

from node.audit.errors import FaultError
from node.audit.report import Part

_Number = Annotated[int, msgspec.Meta(ge=1, le=(1 << 53) - 1)]


class RoundsScope(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="holds", tag="rounds"
):
    """Rounds `first` to `last` of a job: these are computed again.

    All other rounds are followed by what the quorum signed: their records, attestations and payments are judged, what
    is computed from blobs is not.
    """

    job: _Number
    first: _Number
    last: _Number

    def has(self, job: int, number: int) -> bool:
        """Tell whether a round of a job is one of them."""
        return job == self.job and self.first <= number <= self.last


class ReceiptScope(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="holds", tag="receipt"
):
    """What became of a client's record in a job.

    `sequence` counts the job's records from 0. `round` is the one that took or spent it, as whoever made the receipt
    derived it from the event log; None until then. `heights` are shown with header, commit and validators, `blocks`
    with header and so many receipts; both rise.
    """

    job: _Number
    client: _Number
    sequence: Annotated[int, msgspec.Meta(ge=0, le=(1 << 53) - 1)]
    round: _Number | None
    heights: tuple[_Number, ...]
    blocks: tuple[tuple[_Number, _Number], ...]


Scope = RoundsScope | ReceiptScope


def encode_scope(scope: Scope) -> bytes:
    """Return the one form of a scope: JSON with sorted keys and no spaces."""
    return msgspec.json.encode(scope, order="sorted")


def decode_scope(raw: bytes) -> Scope:
    """Read a scope; raises FaultError for any but the canonical form of one that can be."""
    try:
        found: Scope = msgspec.json.decode(raw, type=RoundsScope | ReceiptScope)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise FaultError(Part.BUNDLE, "a scope", str(error)) from None
    if encode_scope(found) != raw:
        raise FaultError(Part.BUNDLE, "a scope as canonical JSON", ascii(raw)[:120])
    match found:
        case RoundsScope() if found.first > found.last:
            raise FaultError(Part.BUNDLE, "a first round that is not after the last", f"{found.first}:{found.last}")
        case ReceiptScope() if not all(
            list(numbers) == sorted(set(numbers)) for numbers in (found.heights, [number for number, _ in found.blocks])
        ):
            raise FaultError(Part.BUNDLE, "heights and blocks that rise", ascii(raw)[:120])
        case _:
            return found
