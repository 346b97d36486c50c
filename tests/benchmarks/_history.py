"""A history of many rounds, for audits to be measured on: real heights, records, rounds and rewards, drawn updates.

Four validators sign each height; four edge servers acknowledge, score, attest and pay each round, by the code that they
run. Only the updates are no training's: each is drawn evenly, by its round and client, and no two are equal. So any can
be made again, and the file that is audited is the only place where all of them lie.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from chain import light
from chain.application import Code, Timestamp
from chain.crypto.contexts import record_context
from chain.crypto.schemes import Scheme
from chain.engines.base import last_results_hash
from chain.genesis import Genesis, Hex, MemberEntry, ValidatorEntry
from chain.validators import CONSENSUS_PARAMS, genesis_validators
from contracts.addresses import LEDGER, TOKEN
from contracts.bindings import Ledger, Role, Token
from contracts.records import Record, SignedRecord, UpdateHeader, blob_digest, encode_batch
from learner.rounds import RoundInputs
from merit.chance import seed_of
from node.audit.bundle import OF_HEIGHT
from node.audit.container import Key, Kind, Writer
from node.audit.history import events_in
from node.audit.scope import RoundsScope, encode_scope
from node.jobs import JobFile, ModelSpec, RoundSpec
from node.rounds.attestation import decode_update, encode_model, score
from node.rounds.context import beside, entries_of
from node.rounds.log import BlockEvents, JobLog
from node.rounds.references import ReferenceLog
from tests.chain.ledger import EDGES, SPONSOR, START, Replica, edge, genesis, key

PHI, PARAMETERS, LARGEST, DELAYS = 15, 280_440, 300, 3
SERVERS = tuple(range(1, EDGES + 1))
QUORUM = 2 * EDGES // 3 + 1
VALIDATORS = [key(f"history, validator {number}") for number in SERVERS]
BY_ADDRESS = {light.validator_address(one.public_key): one for one in VALIDATORS}
CLIENTS = {EDGES + at: key(f"history, client {at}", Scheme.ML_DSA_44) for at in range(1, PHI + 1)}


class Heights:
    """A chain whose four validators all vote for every height."""

    def __init__(self, document: Genesis) -> None:
        self.replica = Replica(document=document)
        self.records: list[tuple[bytes, bytes, bytes, bytes]] = []
        self._validators = genesis_validators(document)
        self._last, self._time = light.EMPTY_COMMIT, light.Timestamp(START)
        self._app_hash, self._results = self.replica.genesis_hash, last_results_hash(())

    def decide(self, *transactions: bytes) -> BlockEvents:
        """Decide, execute and commit the next height, a second after the one before; return its block's events."""
        validators, document, height = self._validators, self.replica.document, light.Height(len(self.records) + 1)
        named = light.validators_hash(validators)
        header = light.Header(
            app_version=document.versions.execution,
            chain_id=document.name,
            height=height,
            time=self._time,
            last_block_id=self._last.block_id,
            last_commit_hash=light.commit_hash(self._last),
            data_hash=light.data_hash(transactions),
            validators_hash=named,
            next_validators_hash=named,
            consensus_hash=light.consensus_hash(CONSENSUS_PARAMS),
            app_hash=self._app_hash,
            last_results_hash=self._results,
            evidence_hash=light.evidence_hash(()),
            proposer_address=validators.validators[0].address,
        )
        commit = self._voted(light.Block(header, transactions, self._last, ()))
        written = (light.encode_header(header), light.encode_commit(commit), light.encode_txs(transactions))
        self.records.append((*written, light.encode_evidence_list(())))
        app = self.replica.app
        finalized = app.finalize_block(height, Timestamp(self._time.seconds, self._time.nanos), transactions)
        app.commit()
        self.replica.nonces.clear()
        failed = [result.reason for result in finalized.results if result.code is not Code.OK]
        if failed or finalized.block is None:
            message = f"height {height} of the benchmark's history: {failed or 'no transaction'}"
            raise RuntimeError(message)
        self._app_hash, self._results = finalized.app_hash, last_results_hash(finalized.results)
        self._last, self._time = commit, light.median_time(commit, validators)
        block = finalized.block
        return BlockEvents(block.number, block.header.timestamp, events_in(block))

    def _voted(self, block: light.Block) -> light.Commit:
        moment, name = replace(self._time, seconds=self._time.seconds + 1), self.replica.document.name
        slots = [light.CommitSig(light.BlockIdFlag.COMMIT, one.address, moment, b"") for one in self._validators]
        unsigned = light.Commit(block.header.height, 0, light.block_id(block), tuple(slots))
        signed = (
            BY_ADDRESS[slot.validator_address].sign(light.commit_sign_bytes(unsigned, index, name), light.VOTE_CONTEXT)
            for index, slot in enumerate(slots)
        )
        return replace(
            unsigned, signatures=tuple(replace(slot, signature=one) for slot, one in zip(slots, signed, strict=True))
        )


class History:
    """A job of `rounds` rounds; each takes an update of each of 15 clients, made from one of the three newest models.

    `folder` keeps the models; about 1.1 MB for each round of 280,440 parameters.
    """

    def __init__(self, rounds: int, folder: Path, parameters: int = PARAMETERS) -> None:
        """Make all of it."""
        self._folder, self._parameters = folder, parameters
        first = np.random.default_rng(seed_of(1, "history", "model")).integers(-(2**20), 2**20, parameters, np.int32)
        self._file = JobFile(
            title="history",
            model=ModelSpec(name="mlp", features=784, classes=10, dimension=parameters),
            round=RoundSpec(phi=PHI, max_staleness=DELAYS, records_per_base=DELAYS),
        )
        self._terms = self._file.learner_terms()
        self._models = {0: first}
        model = self._keep(0, encode_model(first, self._terms.fraction_bits + self._terms.shift))
        asked = self._file.ledger_terms(model=model, edge_set=1)
        budget = rounds * asked.base_reward
        self._chain = Heights(_document(budget))
        self._log = JobLog(job=1, terms=asked, edge_set_of=lambda _: SERVERS)
        self._paid: list[int] = []
        sign = self._chain.replica.sign
        self._chain.decide(
            sign(SPONSOR, TOKEN, Token.encode_approve(LEDGER, budget)),
            sign(SPONSOR, LEDGER, Ledger.encode_create_job(asked, budget)),
        )
        self._decide(*((server, Ledger.encode_acknowledge_job(1)) for server in SERVERS[:QUORUM]))
        for number in range(1, rounds + 1):
            self._round(number)
        self._decide((1, Ledger.encode_tick()))  # its header commits to the last payment

    @property
    def genesis_hash(self) -> bytes:
        """The hash of block 0."""
        return self._chain.replica.genesis_hash

    def write(self, path: Path, rounds: int) -> int:
        """Write the bundle of the first `rounds` rounds; return its bytes."""
        blobs: dict[bytes, tuple[int, int] | Path] = {self._file.digest(): (0, 0)}
        for version in range(rounds + 1):
            blobs[self._log.model_at(version)] = self._path(version)
        for entry in self._log.records[: PHI * rounds]:
            blobs[entry.digest] = entry.round, entry.client
        with Writer(path) as writer:
            writer.add(Key(Kind.SCOPE), encode_scope(RoundsScope(job=1, first=1, last=rounds)))
            writer.add(Key(Kind.GENESIS), self._chain.replica.document.encode())
            for height, records in enumerate(self._chain.records[: self._paid[rounds - 1] + 1], 1):
                for kind, content in zip(OF_HEIGHT, records, strict=True):
                    writer.add(Key(kind, height), content)
            writer.add(Key(Kind.NAMES), b"".join(sorted(blobs)))
            for number, (_, what) in enumerate(sorted(blobs.items())):
                writer.add(Key(Kind.BLOB, number), self._blob(what))
        return path.stat().st_size

    def _blob(self, what: tuple[int, int] | Path) -> bytes:
        match what:
            case Path():
                return what.read_bytes()
            case (0, 0):
                return self._file.encode()
            case number, client:
                return self._update(number, client)

    def _decide(self, *calls: tuple[int, bytes]) -> None:
        """Let edge servers call the Ledger in the next height."""
        sign = self._chain.replica.sign
        self._log.observe(self._chain.decide(*(sign(edge(one), LEDGER, data) for one, data in calls)), _itself)

    def _round(self, number: int) -> None:
        """Record, acknowledge, attest, pay: a height for each."""
        log = self._log
        blobs = {client: self._update(number, client) for client in CLIENTS}
        records = [self._record(number, client, blob) for client, blob in blobs.items()]
        self._decide((1 + number % EDGES, Ledger.encode_record_batch(1, encode_batch(records))))
        self._decide(*((server, Ledger.encode_acknowledge(1, PHI * number)) for server in SERVERS))
        selection = log.select(_itself)
        names = None if selection is None else beside(selection, log, ReferenceLog(1))
        if selection is None or names is None:
            message = f"round {number} of the benchmark's history takes nothing"
            raise RuntimeError(message)
        updates = [decode_update(blobs[entry.client])[1] for entry in selection.records]
        entries = entries_of(selection, updates, {}, names)
        bases = {version: log.model_at(version) for version in self._models}
        inputs = RoundInputs(self._terms, number, self._models[number - 1], entries, self._models)
        scored = score(selection, inputs, bases, names=names)
        self._decide(*((server, Ledger.encode_attest(scored.attestation)) for server in SERVERS))
        ((clients, thetas),) = scored.thetas.chunks
        self._decide(
            (1, Ledger.encode_post_thetas(1, number, scored.thetas.total, scored.thetas.chunk_digests)),
            (1, Ledger.encode_settle_chunk(1, number, 0, clients, thetas)),
        )
        self._paid.append(len(self._chain.records))
        self._keep(number, scored.model_blob)
        if scored.result is not None:
            self._models[number] = scored.result.model
            self._models.pop(number - DELAYS, None)

    def _record(self, number: int, client: int, blob: bytes) -> SignedRecord:
        signing, expiry = CLIENTS[client], START + 10 * len(self._chain.records) + 1_000
        record = Record(1, client, _base(number, client), number, blob_digest(blob), len(blob), expiry)
        signature = signing.sign(record.message(LEDGER), record_context(self.genesis_hash))
        return SignedRecord(record, signing.scheme, signing.address, signature)

    def _update(self, number: int, client: int) -> bytes:
        """Draw the update that a client has in a round."""
        rng = np.random.default_rng(seed_of(1, "history", number, client))
        payload = rng.integers(-LARGEST, LARGEST, self._parameters, np.int16)
        header = UpdateHeader(
            fraction_bits=self._terms.fraction_bits,
            genesis_hash=self.genesis_hash,
            ledger=LEDGER,
            job=1,
            client=client,
            base=_base(number, client),
            counter=number,
            dimension=self._parameters,
        )
        return header.blob(payload.astype("<i2").tobytes())

    def _path(self, version: int) -> Path:
        return self._folder / f"model-{version}"

    def _keep(self, version: int, blob: bytes) -> bytes:
        self._path(version).write_bytes(blob)
        return blob_digest(blob)


def _base(number: int, client: int) -> int:
    """Return the version that a client's update of a round starts from: some are slower than others."""
    return max(0, number - 1 - client % DELAYS)


def _itself(digest: bytes) -> bytes:
    """Stand for the payload of a blob: no two of these updates are equal."""
    return digest


def _document(budget: int) -> Genesis:
    servers = (MemberEntry(role=Role.EDGE_SERVER, scheme=65, key=Hex(edge(one).public_key)) for one in SERVERS)
    clients = (MemberEntry(role=Role.CLIENT, scheme=44, key=Hex(one.public_key)) for one in CLIENTS.values())
    sponsor = MemberEntry(role=Role.SPONSOR, scheme=65, key=Hex(SPONSOR.public_key))
    validators = (
        ValidatorEntry(name=f"validator-{at}", public_key=Hex(one.public_key), member=at)
        for at, one in zip(SERVERS, VALIDATORS, strict=True)
    )
    return genesis(
        members=(*servers, *clients, sponsor),
        validators=tuple(validators),
        tokens={"0x" + SPONSOR.address.hex(): str(budget)},
    )
