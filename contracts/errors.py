"""Errors of artifacts, layouts, records, blobs and events.

ContractsError
+-- UnknownContractError    no artifact of this name
+-- UnknownVariableError    no such storage variable, or the wrong path into it
+-- CodecError              bytes or fields that are not a canonical record, batch or blob header
|   +-- LengthError         a part has the wrong number of bytes
|   +-- NumberError         a number does not fit its field
|   +-- SchemeError         a signature scheme that records do not know
|   +-- CutShortError       a batch ends within an entry
|   +-- BatchSizeError      a batch without entries, or with too many
|   +-- HeaderError         a fixed field of a blob's header has another value
+-- EventError              a log with the topic of one of our events that does not decode as it
"""

from dataclasses import dataclass

from merit.errors import MeritError


class ContractsError(MeritError):
    """Root of this room's branch."""


@dataclass(eq=False)
class UnknownContractError(ContractsError):
    """There is no artifact of this name."""

    name: str

    def __str__(self) -> str:
        """Say which names there are."""
        return f"no contract is called {self.name!r}; use Registry, Token, Ledger or Council"


@dataclass(eq=False)
class UnknownVariableError(ContractsError):
    """A storage slot was asked for by a name, key or member that the layout does not have."""

    contract: str
    variable: str
    step: object

    def __str__(self) -> str:
        """Name the step that leads nowhere."""
        where = f"{self.contract}.{self.variable}"
        return f"{self.step!r} leads to no slot of {where}; see contracts/artifacts/{self.contract}.json"


class CodecError(ContractsError):
    """Bytes or fields that are not a canonical record, batch or blob header."""


@dataclass(eq=False)
class LengthError(CodecError):
    """A part has the wrong number of bytes, or of another unit."""

    part: str
    length: int
    expected: int
    unit: str = "bytes"

    def __str__(self) -> str:
        """Say how long it is and should be."""
        return f"{self.part} has {self.length} {self.unit}, not {self.expected}"


@dataclass(eq=False)
class NumberError(CodecError):
    """A number does not fit its field."""

    part: str
    problem: str

    def __str__(self) -> str:
        """Quote what the packer says."""
        return f"a number of the {self.part} does not fit its field ({self.problem})"


@dataclass(eq=False)
class SchemeError(CodecError):
    """A signature scheme that records do not know."""

    scheme: int

    def __str__(self) -> str:
        """Say which ones there are."""
        return f"unknown signature scheme {self.scheme}; use 44 (ML-DSA-44) or 65 (ML-DSA-65)"


@dataclass(eq=False)
class CutShortError(CodecError):
    """A batch ends within an entry that begins at byte `start`."""

    start: int
    length: int

    def __str__(self) -> str:
        """Say where the entry begins and where the bytes end."""
        return f"the entry at byte {self.start} is cut short at byte {self.length}"


@dataclass(eq=False)
class BatchSizeError(CodecError):
    """A batch without entries, or with more than a call takes."""

    entries: int
    limit: int

    def __str__(self) -> str:
        """Say how many are allowed."""
        return f"a batch holds 1 to {self.limit} entries, not {self.entries}"


@dataclass(eq=False)
class HeaderError(CodecError):
    """A fixed field of a blob's header has another value."""

    field: str
    value: object
    expected: object

    def __str__(self) -> str:
        """Say what the field is and should be."""
        return f"{self.field} of the blob's header is {self.value!r}, not {self.expected!r}"


@dataclass(eq=False)
class EventError(ContractsError):
    """A log with the topic of one of our events that does not decode as it."""

    event: str
    problem: str

    def __str__(self) -> str:
        """Quote what the decoder says."""
        return f"a log with the topic of {self.event} does not decode as it: {self.problem}"
