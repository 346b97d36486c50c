"""Errors of Ethereum JSON-RPC: one class per code that Merit answers with.

    RpcError (a ChainError)
    +-- ParseError                 -32700  not JSON (JSON-RPC 2.0)
    +-- InvalidRequestError        -32600  JSON, but no request (JSON-RPC 2.0)
    +-- MethodNotFoundError        -32601  (JSON-RPC 2.0)
    +-- InvalidParamsError         -32602  (JSON-RPC 2.0)
    +-- InternalError              -32603  a bug of ours; the log has the traceback
    +-- TransactionRefusedError    -32000  the pool says why (EIP-1474: invalid input)
    |   +-- QuotaError             -32005  the sender's share is used up (EIP-1474: limit exceeded); wait and send again
    +-- NotFoundError              -32001  no such block, filter or height (EIP-1474)
    +-- LimitError                 -32005  the answer would be too long (EIP-1474)
    +-- ExecutionFailedError       -32000  a call ran out of gas or broke a rule of the EVM
    +-- NotTraceableError        -32000  a trace of what is not there (geth's code)
    +-- SimulationRefusedError   -380xx  supposed blocks that cannot be made (execution-apis)
    +-- ExecutionRevertedError          3  a call reverted; `data` is what the contract returned (geth's convention)

A client's mistake is one of these and nothing else; the server never answers one with an exception or a status of 500.
"""

from typing import ClassVar

from chain.errors import ChainError


class RpcError(ChainError):
    """An error object of JSON-RPC; the message is one line."""

    code: ClassVar[int]

    def __init__(self, message: str, data: str | None = None) -> None:
        """Build the object; `data` is 0x-hexadecimal, only where a convention gives it a meaning."""
        self.message = message
        self.data = data
        super().__init__(message)

    def to_json(self) -> dict[str, object]:
        """Return the error object (JSON-RPC 2.0, section 5.1)."""
        error: dict[str, object] = {"code": self.code, "message": self.message}
        if self.data is not None:
            error["data"] = self.data
        return error


class ParseError(RpcError):
    """The request is not JSON."""

    code = -32700


class InvalidRequestError(RpcError):
    """The JSON is not a request."""

    code = -32600


class MethodNotFoundError(RpcError):
    """There is no such method here."""

    code = -32601


class InvalidParamsError(RpcError):
    """A parameter is missing, unknown or wrong; the message names it."""

    code = -32602


class InternalError(RpcError):
    """A bug: the request is in the log with its traceback."""

    code = -32603


class TransactionRefusedError(RpcError):
    """The pool did not take the transaction."""

    code = -32000


class QuotaError(TransactionRefusedError):
    """The sender's or the job's quota is used up; the message says when the next window begins."""

    code = -32005


class ExecutionFailedError(RpcError):
    """A call ended without a revert: out of gas, an invalid opcode, too little balance."""

    code = -32000


class NotFoundError(RpcError):
    """What was named does not exist here."""

    code = -32001


class NotTraceableError(RpcError):
    """There is nothing to run again: no such transaction or block, or block 0."""

    code = -32000


class SimulationRefusedError(RpcError):
    """Supposed blocks cannot be made; its own code says why."""

    code = -32000

    def __init__(self, code: int, message: str) -> None:
        """Take one of the codes of execution-apis."""
        super().__init__(message)
        self._code = code

    def to_json(self) -> dict[str, object]:
        """Return the error object with its own code."""
        return super().to_json() | {"code": self._code}


class LimitError(RpcError):
    """The answer would be longer than this server gives."""

    code = -32005


class ExecutionRevertedError(RpcError):
    """A call reverted."""

    code = 3
