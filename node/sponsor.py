"""What a sponsor does, over JSON-RPC: propose a job, add to its budget, close it."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import httpx
from cryptography.x509 import Certificate
from web3 import Web3

from contracts import addresses
from contracts.bindings import Ledger, Registry, Token
from contracts.digests import text_of
from contracts.events import JobCreated, Recorded, decode_events
from contracts.records import blob_digest
from learner.errors import InvalidTerms
from learner.objective import Objective
from node.account import RECEIPT_TIMEOUT_S, Account, connect
from node.errors import ServersUnreachableError, TransactionFailedError
from node.jobs import JobFile, decode_job_file
from node.rounds.attestation import encode_model
from node.tls import certificates
from node.tls.transport import transport_for

TOKEN_WEI = 10**18
_BLOCKS_PER_QUERY = 256


class Sponsor:
    """A sponsor's account on a ledger."""

    def __init__(self, account: Account) -> None:
        """Act for `account`."""
        self._account = account

    @classmethod
    def connect(cls, rpc: str, key_path: Path, password: bytes) -> "Sponsor":
        """Load the key and connect; errors as in `Account.connect`."""
        return cls(Account.connect(rpc, key_path, password))

    def create(
        self,
        path: Path,
        server: str,
        *,
        budget: int,
        edge_set: int,
        model: Path | None,
        seed: int,
        trust: Path | None = None,
    ) -> int:
        """Propose the job of a file with a budget in whole tokens; return its number.

        `model` is model 0's blob; None makes it from the job file (that needs torch). The edge server at `server` gets
        both files; the others fetch them from it. `trust`: its certificate, for an https URL.

        Raises:
            ConfigError, LearnerError: the job file or the model is wrong.
            TransactionFailedError: the ledger refuses.
            ServersUnreachableError: the edge server does not take the files.
            CertificateError: `trust` holds no certificate.

        """
        trusted = () if trust is None else certificates.read(trust)
        job_file = decode_job_file(path.read_bytes())
        blob = model.read_bytes() if model is not None else _model_0(job_file, seed)
        terms = job_file.ledger_terms(model=blob_digest(blob), edge_set=edge_set)
        self._check_servers(job_file.objective, edge_set)
        amount = budget * TOKEN_WEI
        self._account.send(addresses.TOKEN, Token.encode_approve(addresses.LEDGER, amount))
        _, logs = self._account.send(addresses.LEDGER, Ledger.encode_create_job(terms, amount))
        number = next(event.job for event in decode_events(logs) if isinstance(event, JobCreated))
        if job_file.vests:
            self._account.send(addresses.LEDGER, Ledger.encode_vest_pay(number, addresses.VESTING, job_file.vests))
        for data in (job_file.encode(), blob):
            _upload(server, data, trusted)
        return number

    def _check_servers(self, objective: Objective, edge_set: int) -> None:
        """Refuse an objective of servers that are not of the edge set; that there is one is the ledger's to say."""
        members = Registry(self._account.w3, addresses.REGISTRY).edge_set(edge_set) if objective.edge_servers else ()
        if members and not set(objective.edge_servers) <= set(members):
            raise InvalidTerms(
                field="references.objective.edge_servers",
                value=[*objective.edge_servers],
                allowed=f"edge servers of edge set {edge_set}: {', '.join(map(str, members))}",
            )

    def top_up(self, job: int, tokens: int) -> int:
        """Add whole tokens to a job's budget; return the block. Errors as in `create`."""
        amount = tokens * TOKEN_WEI
        self._account.send(addresses.TOKEN, Token.encode_approve(addresses.LEDGER, amount))
        return self._account.send(addresses.LEDGER, Ledger.encode_top_up(job, amount))[0]

    def close(self, job: int) -> int:
        """Take no more records; return the block. Errors as in `create`."""
        return self._account.send(addresses.LEDGER, Ledger.encode_close_job(job))[0]


def describe(rpc: str, job: int) -> dict[str, object]:
    """Return where a job stands, for people and programs; amounts in wei as text.

    Raises:
        LedgerUnreachableError: nothing answers at `rpc`.
        TransactionFailedError: there is no such job.

    """
    ledger = Ledger(connect(rpc), addresses.LEDGER)
    if not 1 <= job <= (count := ledger.job_count()):
        message = f"there is no job {job}: this ledger has {count}"
        raise TransactionFailedError(message)
    state, terms, accounts = ledger.job(job), ledger.terms(job), ledger.accounts(job)
    return {
        "status": state.status.name.lower(),
        "sponsor": state.sponsor,
        "version": state.version,
        "phi": state.phi_now,
        "records": state.next_sequence,
        "spent": state.spent,
        "model": state.model,
        "job_file": terms.job_file,
        "scoring": text_of(terms.scoring),
        "aggregation": text_of(terms.aggregation),
        "staleness": text_of(terms.staleness),
        "dimension": terms.dimension,
        "max_wait": terms.max_wait,
        "max_staleness": terms.max_staleness,
        "base_reward_wei": str(terms.base_reward),
        **{f"{name}_wei": str(amount) for name, amount in asdict(accounts).items()},
    }


def recorded(rpc: str, job: int) -> list[Recorded]:
    """Return every record of a job that a node's ledger holds, in order; errors as in `connect`."""
    return recorded_on(connect(rpc), job)


def recorded_on(w3: Web3, job: int) -> list[Recorded]:
    """Return every record of a job on the ledger that `w3` is connected to, in order."""
    found: list[Recorded] = []
    newest = w3.eth.block_number
    for first in range(0, newest + 1, _BLOCKS_PER_QUERY):
        query = {"address": Web3.to_checksum_address(addresses.LEDGER), "fromBlock": first}
        logs = w3.eth.get_logs({**query, "toBlock": min(newest, first + _BLOCKS_PER_QUERY - 1)})  # type: ignore[typeddict-item] # web3's literal type
        events = decode_events(dict(log) for log in logs)
        found += [event for event in events if isinstance(event, Recorded) and event.job == job]
    return found


def _model_0(job_file: JobFile, seed: int) -> bytes:
    from node.run.preparation import model_0  # noqa: PLC0415 - needs torch, which a sponsor with a model need not have

    return encode_model(
        model_0(job_file.model, job_file.learner_terms(), seed), job_file.learner_terms().model_fraction_bits
    )


def _upload(server: str, data: bytes, trusted: Sequence[Certificate]) -> None:
    url = f"{server.rstrip('/')}/v1/blobs/{blob_digest(data).hex()}"
    try:
        with httpx.Client(transport=transport_for(url, trusted), timeout=RECEIPT_TIMEOUT_S) as http:
            answer = http.put(url, content=data)
    except httpx.HTTPError as error:
        message = f"edge server {server} does not answer ({error}): upload the job's files again"
        raise ServersUnreachableError(message) from error
    if not answer.is_success:
        message = f"edge server {server} refuses a file of the job: {answer.json()['reason']}"
        raise ServersUnreachableError(message)
