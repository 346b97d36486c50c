"""A whole network in one process, kept in one directory: validators on the embedded engine, each with its own store.

    DIR/genesis.json                 what all agree on; a directory without it holds no network
    DIR/keys/NAME.pem                encrypted keys: governor, validator-1.., member-1.. (members that were asked for);
                                     validator-1.2, .. were made to take the place of validator-1 by vote
    DIR/keys/password                opens them; mode 0600, made from the system's entropy
    DIR/keys/accounts.json           classical accounts of a development network, in the clear; mode 0600
    DIR/keys/intake.pem, intake.crt  TLS key and certificate of its intakes, once they are served over TLS
    DIR/validators/N/engine, ledger  the stores of validator N, from 1
    DIR/lock                         held while a process uses the directory

A directory is made beside its final names (`DIR/.making`) and put in place by two renames, genesis.json last, so that a
crash on the way leaves something that the next start recognises and finishes or makes again.

Threads: everything runs in the thread of the event loop that called `start`. `web3(i)` may be used from other threads
too: their requests are handed to that loop.
"""

import fcntl
import os
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn, Protocol

import coincurve
import msgspec

from chain.crypto import keystore
from chain.crypto.hashing import keccak256
from chain.crypto.schemes import Scheme, SigningKey
from chain.genesis import Genesis, load_genesis
from contracts.addresses import COUNCIL
from merit.chance import entropy
from merit.clock import Clock, SystemClock
from node.errors import RunDirectoryError
from node.founding import ClassicalAccount, Founding, Membership, hexadecimal, seeded_key

if TYPE_CHECKING:
    from OpenSSL import SSL
    from web3 import Web3

    from chain.application import Application
    from chain.engines.embedded import EngineStore, Roster, Validator
    from chain.rpc.dispatcher import Dispatcher
    from chain.storage import Store


class MakesEngine(Protocol):
    """What makes the engine of a network from its validators; intervals in seconds, as `LocalNetwork` has them."""

    def __call__(
        self,
        validators: "Sequence[Validator]",
        genesis: Genesis,
        clock: Clock,
        *,
        block_interval: float,
        empty_interval: float,
    ) -> "Roster":
        """Return an engine that has not started."""
        ...


_MAKING: Final = ".making"
_PASSWORD_BYTES: Final = 32
_EMPTY_INTERVAL_S: Final = 1.0


class LocalNetwork:
    """Create or open a network and run it.

    What concerns the genesis document counts when the directory is made. On a directory that holds a network, None
    means "as it is", and anything else has to agree with what is there (`RunDirectoryError` names what does not).

    Args:
        directory: where the network lives; made when missing.
        name: CometBFT's chain id, a string; by default `merit-` and the chain id in hexadecimal.
        chain_id: the EVM's chain id; 19781 by default.
        validators: how many; 4 by default, at most 64.
        block_interval: seconds between two heights, at least.
        empty_interval: seconds after which a height is made without transactions; 0 for never. None: never, unless the
            genesis document wants a block at every height: then `block_interval`, or a second if that is 0.
        classical: take secp256k1 transactions too.
        block_every_height: make a block for heights without transactions.
        members: block 0 admits them with ids from 1 on, in this order, with new keys `member-ID`.
        edge_sets: member ids of each numbered set; by default one set of all edge servers, when there are any.
        tokens: member id -> wei of the reward Token.
        balances: address (20 bytes) -> wei of the native coin.
        council: the edge servers govern by vote; the governor's key then only deploys contracts. By default it governs.
        accounts: how many classical accounts to make; each has 10,000 coins and may deploy contracts.
        contracts: version of the contracts that holds from block 1 on; 1 by default.
        clock: the network's time.
        sync: False leaves writing to the operating system (tests).
        engine: makes the engine; by default an `EmbeddedEngine` with the threads asked for.
        key_seed: makes the keys from this seed instead of entropy: for simulations, where runs must repeat.
        threads: sign, verify and write engine stores in threads, one for each validator.

    """

    def __init__(
        self,
        directory: Path,
        *,
        name: str | None = None,
        chain_id: int | None = None,
        validators: int | None = None,
        block_interval: float = 0.0,
        empty_interval: float | None = None,
        classical: bool | None = None,
        block_every_height: bool | None = None,
        members: Sequence[Membership] | None = None,
        edge_sets: Sequence[Sequence[int]] | None = None,
        tokens: Mapping[int, int] | None = None,
        balances: Mapping[bytes, int] | None = None,
        council: bool | None = None,
        accounts: int | None = None,
        contracts: int | None = None,
        clock: Clock | None = None,
        sync: bool = True,
        key_seed: int | None = None,
        threads: bool = True,
        engine: "MakesEngine | None" = None,
    ) -> None:
        """Remember the wishes; `start` touches the disk."""
        self.directory = directory
        self._wishes = Founding(
            name=name,
            chain_id=chain_id,
            validators=validators,
            classical=classical,
            block_every_height=block_every_height,
            members=None if members is None else tuple(members),
            edge_sets=None if edge_sets is None else tuple(map(tuple, edge_sets)),
            tokens=None if tokens is None else dict(tokens),
            balances=None if balances is None else dict(balances),
            council=council,
            accounts=accounts,
            contracts=contracts,
        )
        self._block_interval = block_interval
        self._empty_interval = empty_interval
        self._clock = SystemClock() if clock is None else clock
        self._sync, self._key_seed, self._threads = sync, key_seed, threads
        self._makes_engine = engine
        self._lock: int | None = None
        self._password = b""
        self._running: _Running | None = None
        self.created = False
        """Whether `start` made the directory (it held no network before)."""

    # -- what the directory holds -----------------------------------------------------------------------------------

    @property
    def genesis_path(self) -> Path:
        """The genesis document."""
        return self.directory / "genesis.json"

    @property
    def keys_path(self) -> Path:
        """The directory of the keys."""
        return self.directory / "keys"

    @property
    def password_path(self) -> Path:
        """The file that holds the password of all keys."""
        return self.keys_path / "password"

    @property
    def governor_key_path(self) -> Path:
        """The key that admits members, mints and may deploy contracts."""
        return self.key_path("governor")

    def key_path(self, name: str) -> Path:
        """Where the key of this name lies."""
        return self.keys_path / f"{name}.pem"

    def member_key_path(self, member: int) -> Path:
        """Where the key of a member that block 0 admitted lies; ids count from 1."""
        return self.key_path(f"member-{member}")

    def key(self, name: str) -> SigningKey:
        """Load a key; the network must have been started once. Errors as in `keystore.load`."""
        return keystore.load(self.key_path(name), self._read_password())

    def member_key(self, member: int) -> SigningKey:
        """Load the key of a member that block 0 admitted; ids count from 1."""
        return self.key(f"member-{member}")

    def intake_tls(self) -> "SSL.Context":
        """Return what its edge servers' intakes prove themselves with on this machine; made when it is missing."""
        from node.tls import identity  # noqa: PLC0415 - loads OpenSSL

        key, certificate = (self.keys_path / name for name in (identity.KEY_NAME, identity.CERTIFICATE_NAME))
        identity.make(self.keys_path, ("127.0.0.1", "localhost"), self._read_password(), now=self._clock.now())
        return identity.context_of(key, certificate, self._read_password())

    def accounts(self) -> tuple[ClassicalAccount, ...]:
        """Return the classical accounts that were made for development."""
        path = self.keys_path / "accounts.json"
        if not path.exists():
            return ()
        try:
            return msgspec.json.decode(path.read_bytes(), type=tuple[ClassicalAccount, ...])
        except msgspec.MsgspecError as error:
            message = f"{path}: {error}; restore it from a copy"
            raise RunDirectoryError(message) from None

    def make_key(self, name: str, scheme: Scheme) -> SigningKey:
        """Make a key and keep it under this name; raises KeyFileExistsError.

        With a `key_seed` it is that seed's.
        """
        seed = self._key_seed
        key = SigningKey.generate(scheme) if seed is None else seeded_key(seed, name, scheme)
        keystore.save(self.key_path(name), key, self._read_password())
        return key

    def replace_key(self, name: str, by: str) -> None:
        """Let one key have the name of another, which is gone."""
        self.key_path(by).rename(self.key_path(name))
        _sync(self.keys_path)

    def _validator_keys(self, number: int) -> list[SigningKey]:
        """Return the keys of validator `number`, from 1: that of its first height, and those made for it since."""
        names = [f"validator-{number}"]
        while self.key_path(following := f"validator-{number}.{len(names) + 1}").exists():
            names.append(following)
        return [self.key(name) for name in names]

    def _read_password(self) -> bytes:
        if not self._password:
            self._password = self.password_path.read_bytes()
        return self._password

    # -- what runs --------------------------------------------------------------------------------------------------

    @property
    def genesis(self) -> Genesis:
        """What all validators agree on."""
        return self._started.genesis

    @property
    def genesis_hash(self) -> bytes:
        """The hash of block 0 (32 bytes): the trust root of this ledger."""
        return self._started.genesis_hash

    @property
    def engine(self) -> "Roster":
        """The engine with its validators."""
        return self._started.engine

    @property
    def validators(self) -> int:
        """How many validators there are."""
        return len(self._started.dispatchers)

    def application(self, index: int = 0) -> "Application":
        """Return the replica of validator `index`, from 0."""
        return self._started.applications[index]

    def dispatcher(self, index: int = 0) -> "Dispatcher":
        """Return the RPC of validator `index`, from 0."""
        return self._started.dispatchers[index]

    def web3(self, index: int = 0) -> "Web3":
        """Return a web3.py connection to validator `index`, from 0; always the same one."""
        running = self._started
        if index not in running.connections:
            from chain.rpc.provider import connect  # noqa: PLC0415 - loads web3, 2.2 s

            running.connections[index] = connect(running.dispatchers[index])
        return running.connections[index]

    @property
    def _started(self) -> "_Running":
        if self._running is None:
            message = f"the network in {self.directory} does not run: await start() first"
            raise RunDirectoryError(message)
        return self._running

    async def start(self) -> None:
        """Create or open the directory, recover every validator and begin to make blocks.

        Raises:
            RunDirectoryError: in use, half gone, or of another network than was asked for.
            GenesisError, StoreError, KeyFileError: what lies in the directory cannot be used.

        """
        self._lock = _lock(self.directory)
        try:
            self.created = _settle(self.directory, self._wishes, int(self._clock.now()), self._key_seed)
            genesis = load_genesis(self.genesis_path)
            _check(self._wishes, self.directory, genesis, self.accounts())
            self._running = await self._run(genesis)
        except BaseException:
            self._unlock()
            raise

    async def stop(self) -> None:
        """Stop making blocks, close every store and release the directory. Harmless when nothing runs."""
        running, self._running = self._running, None
        if running is not None:
            await running.engine.stop()
            if running.threads is not None:
                running.threads.shutdown()
            for store in running.stores:
                store.close()
        self._unlock()

    async def add_validator_key(self, index: int) -> SigningKey:
        """Make one more key for validator `index`, from 0: it votes with that once the ledger says so.

        The key is on the disk before anybody hears of it.
        """
        number = len(self._validator_keys(index + 1)) + 1
        key = self.make_key(f"validator-{index + 1}.{number}", Scheme.ML_DSA_65)
        await self.engine.add_key(index, key)
        return key

    async def add_validator(self) -> int:
        """Make one more validator, which follows the others from block 0 on; return its index, from 0.

        It votes once the ledger has made its key, `keys/validator-N.pem`, that of a validator.
        """
        from chain.rpc.dispatcher import Dispatcher  # noqa: PLC0415 - loads py-evm, 1.4 s

        running, index = self._started, self.validators
        self.make_key(f"validator-{index + 1}", Scheme.ML_DSA_65)
        application, validator = self._open(index + 1, running.genesis, running.stores)
        await running.engine.add_validator(validator)
        running.applications.append(application)
        running.dispatchers.append(Dispatcher(application, running.engine.member(index), self._clock))
        return index

    def _open(
        self, number: int, genesis: Genesis, stores: "list[Store | EngineStore]"
    ) -> "tuple[Application, Validator]":
        """Open what validator `number`, from 1, has on the disk; its stores join `stores`."""
        from chain.application import Application  # noqa: PLC0415 - loads py-evm, 1.4 s
        from chain.engines.embedded import EngineStore, Validator  # noqa: PLC0415 - as above
        from chain.storage import Store  # noqa: PLC0415 - as above

        home = self.directory / "validators" / str(number)
        ledger_store = Store.open(home / "ledger", sync=self._sync)
        stores.append(ledger_store)
        engine_store = EngineStore(home / "engine", genesis.digest())
        stores.append(engine_store)
        application = Application(ledger_store)
        key, *later = self._validator_keys(number)
        return application, Validator(key, application, engine_store, tuple(later))

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)  # closing releases the lock
            self._lock = None

    async def _run(self, genesis: Genesis) -> "_Running":
        from chain.engines.embedded import EmbeddedEngine  # noqa: PLC0415 - loads py-evm, 1.4 s
        from chain.rpc.dispatcher import Dispatcher  # noqa: PLC0415 - as above

        stores: list[Store | EngineStore] = []
        many = len(genesis.validators)
        while self.key_path(f"validator-{many + 1}").exists():
            many += 1
        threads = ThreadPoolExecutor(many, thread_name_prefix="validator") if self._threads else None
        try:
            opened = [self._open(number, genesis, stores) for number in range(1, many + 1)]
            applications, validators = [one for one, _ in opened], [one for _, one in opened]
            empty_interval = self._empty_interval
            if empty_interval is None:
                empty_interval = (self._block_interval or _EMPTY_INTERVAL_S) if genesis.block_every_height else 0.0
            makes_engine = self._makes_engine or partial(EmbeddedEngine, executor=threads)
            engine = makes_engine(
                validators, genesis, self._clock, block_interval=self._block_interval, empty_interval=empty_interval
            )
            await engine.start()
        except BaseException:
            if threads is not None:
                threads.shutdown()
            for store in stores:
                store.close()
            raise
        dispatchers = [
            Dispatcher(application, engine.member(index), self._clock) for index, application in enumerate(applications)
        ]
        return _Running(
            genesis=genesis,
            genesis_hash=applications[0].genesis_hash,
            engine=engine,
            applications=applications,
            stores=stores,
            threads=threads,
            dispatchers=dispatchers,
            connections={},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Running:
    """A network that runs; its lists grow with its validators."""

    genesis: Genesis
    genesis_hash: bytes
    engine: "Roster"
    applications: "list[Application]"
    stores: "list[Store | EngineStore]"
    threads: ThreadPoolExecutor | None
    dispatchers: "list[Dispatcher]"
    connections: "dict[int, Web3]"


def _check(wishes: Founding, directory: Path, genesis: Genesis, accounts: Sequence[ClassicalAccount]) -> None:
    """Compare with the document that the directory holds; `RunDirectoryError` names the first difference."""
    found: dict[str, object] = {
        "name": genesis.name,
        "chain_id": genesis.chain_id,
        "validators": len(genesis.validators),
        "classical": genesis.classical,
        "block_every_height": genesis.block_every_height,
        "members": tuple(Membership(member.role, Scheme(member.scheme)) for member in genesis.members),
        "edge_sets": genesis.edge_sets,
        "tokens": {
            number: int(genesis.tokens[owner])
            for number, member in enumerate(genesis.members, 1)
            if (owner := hexadecimal(member.address)) in genesis.tokens
        },
        "balances": {
            bytes.fromhex(address[2:]): int(wei)
            for address, wei in genesis.balances.items()
            if address not in {account.address for account in accounts}
        },
        "council": genesis.governor == COUNCIL,
        "accounts": len(accounts),
        "contracts": genesis.versions.contracts,
    }
    for field, there in found.items():
        wanted = getattr(wishes, field)
        if wanted is not None and wanted != there:
            different = f"{there}, not {wanted}" if isinstance(there, str | int) else "other ones"
            message = (
                f"{directory} holds a network with {field} = {different}; leave the option out to go on with it, "
                "or name another directory"
            )
            raise RunDirectoryError(message)


def _lock(directory: Path) -> int:
    """Take the directory for this process and return what holds it: the lock goes when that is closed, or by a kill."""
    directory.mkdir(parents=True, exist_ok=True)
    holder = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(holder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.read(holder, 32).decode(errors="replace").strip()
        os.close(holder)
        message = f"{directory} is in use by process {owner or '(unknown)'}: stop it first or name another directory"
        raise RunDirectoryError(message) from None
    os.ftruncate(holder, 0)
    os.write(holder, f"{os.getpid()}\n".encode())
    return holder


def _settle(directory: Path, wishes: Founding, time: int, key_seed: int | None) -> bool:
    """See to it that the directory holds a whole network; tell whether it was made now.

    A network is made in `.making` and moved: first the keys, then genesis.json. So a crash leaves one of: nothing but
    `.making` (removed and made again), keys in place and the document still in `.making` (finished), or all of it.
    """
    making, genesis, keys = directory / _MAKING, directory / "genesis.json", directory / "keys"
    if genesis.exists():
        if not (keys / "password").exists():
            _give_up(directory, "keys/password is gone: restore keys/ from a copy")
        shutil.rmtree(making, ignore_errors=True)
        return False
    if (directory / "validators").exists():
        _give_up(
            directory, "genesis.json is gone but validators/ is there: restore it, or remove validators/ and keys/"
        )
    draft = making / genesis.name
    if keys.exists() and not draft.exists():
        _give_up(directory, "keys/ is there but no genesis.json: move keys/ away or restore genesis.json")
    if not keys.exists():
        shutil.rmtree(making, ignore_errors=True)
        _make(making, wishes, time, key_seed)
        (making / keys.name).rename(keys)
    draft.rename(genesis)
    making.rmdir()
    _sync(directory)
    return True


def _make(making: Path, wishes: Founding, time: int, key_seed: int | None) -> None:
    made = wishes.keys(key_seed)
    accounts = [_classical_account() for _ in range(wishes.accounts or 0)]
    document = wishes.document(made, accounts, time).encode()
    keys = making / "keys"
    keys.mkdir(parents=True, mode=0o700)
    password = entropy(_PASSWORD_BYTES).hex().encode()
    _write(keys / "password", password, 0o600)
    for name, key in made.items():
        keystore.save(keys / f"{name}.pem", key, password)
    if accounts:
        _write(keys / "accounts.json", msgspec.json.encode(accounts), 0o600)
    _write(making / "genesis.json", document, 0o644)
    _sync(making)


def _classical_account() -> ClassicalAccount:
    secret = entropy(32)
    public_key: bytes = coincurve.PrivateKey(secret).public_key.format(compressed=False)
    return ClassicalAccount(address=hexadecimal(keccak256(public_key[1:])[12:]), private_key=hexadecimal(secret))


def _write(path: Path, content: bytes, mode: int) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(directory: Path) -> None:
    holder = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(holder)
    finally:
        os.close(holder)


def _give_up(directory: Path, problem: str) -> NoReturn:
    message = f"{directory} holds half a network: {problem}, or name another directory"
    raise RunDirectoryError(message)
