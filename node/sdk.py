"""The client SDK: bring a torch module and a data set of your own to a job, and be paid for what they teach.

    import torch
    from node import sdk

    module = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.Tanh(), torch.nn.Linear(32, 10))
    done = sdk.learn(
        module, my_dataset, job=1, servers=["http://127.0.0.1:8601"],
        key="member-5.pem", password_file="password", directory="client-5",
    )
    print(f"member {done.member} trained {done.trained} times")

`learn` blocks until the job closes; `contribute` is the same for who has an event loop and a trainer. What leaves this
machine are signed updates of the parameters, never the data.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, TypeAlias

import httpx
import numpy as np

from chain.crypto import keystore
from chain.crypto.schemes import SigningKey
from learner import models
from learner.allocation.plan import Task
from learner.data.stream import arrivals
from learner.errors import MissingExtra, TrainingFailed
from learner.fixedpoint import Reals, Rejected
from learner.fixedpoint import encode_model as fix_model
from merit.chance import seed_of
from merit.clock import Clock, SystemClock
from node.client import Client, Identity, Servers, Trainer
from node.errors import ConfigError
from node.jobs import JobFile
from node.rounds.attestation import encode_model
from node.tls import certificates
from node.tls.transport import async_transport

try:
    import torch
    from torch import Tensor, nn
    from torch.nn import functional
    from torch.utils.data import DataLoader, Subset
except ImportError as error:
    raise MissingExtra(package="torch") from error

Place: TypeAlias = str | Path
Loss: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""(what the module answers, targets) -> a scalar to make small."""
_SEED_END: Final = 1 << 63


class Samples(Protocol):
    """A map-style data set, as torch has them: `samples[i]` is (input, target) for the module and the loss."""

    def __len__(self) -> int:
        """Count the samples."""
        ...

    def __getitem__(self, index: int) -> object:
        """Return one sample and its target."""
        ...


@dataclass(frozen=True, slots=True)
class Learned:
    """What came of a job: the client's member id, and how often it trained, over all its lives."""

    member: int
    trained: int


def learn(
    module: nn.Module,
    data: Samples,
    *,
    servers: Sequence[str],
    key: Place,
    password_file: Place,
    directory: Place,
    job: int = 1,
    interval: float = 1.0,
    trust: Place | None = None,
    loss: Loss = functional.cross_entropy,
    seed: int = 0,
) -> Learned:
    """Train a module on own data whenever the job wants it, until the job closes.

    Args:
        module: with the parameters that the job's model has, in the same order; without buffers.
        data: own samples; they are taken in an order of their own by `seed`, again and again.
        servers: URLs of edge servers' intakes; more than one, to fall back on. https is post-quantum TLS.
        key: this member's key file.
        password_file: the file with its password.
        directory: where is kept what is not delivered yet; the same one after a restart.
        job: the job's number.
        interval: seconds in which the job's number of new samples comes.
        trust: certificates of the servers whose URLs are https.
        loss: what training makes small; cross-entropy for classes by default.
        seed: of the order of samples.

    Raises:
        MeritError: a key, a certificate or the module does not fit, or no server answers.

    """
    signing_key = keystore.load(Path(key), _first_line(Path(password_file)))
    torch.set_num_threads(1)
    trainer = TorchTrainer(module, data, loss=loss, seed=seed)
    return asyncio.run(
        contribute(
            lambda _: trainer,
            servers=servers,
            key=signing_key,
            directory=Path(directory),
            job=job,
            interval=interval,
            trust=None if trust is None else Path(trust),
            clock=SystemClock(),
        )
    )


async def contribute(
    trainer: Callable[[int], Trainer],
    *,
    servers: Sequence[str],
    key: SigningKey,
    directory: Path,
    job: int,
    interval: float,
    clock: Clock,
    trust: Path | None = None,
) -> Learned:
    """Run one client until the job closes; `trainer` makes, from its member id, what trains. The rest as in `learn`.

    Raises:
        ConfigError: the edge servers do not know the key, or https is asked for without certificates to trust.
        CertificateError: `trust` holds none.
        ServersUnreachableError: no edge server answers.

    """
    async with _http(servers, trust) as http:
        known = Servers([url.rstrip("/") for url in servers], first=0, clock=clock, http=http)
        status = (await known.request("GET", "/v1/status")).json()
        answer = await known.request("GET", f"/v1/members/{key.address.hex()}")
        if not answer.is_success:
            message = f"the edge servers know no member with the address 0x{key.address.hex()}: have it admitted first"
            raise ConfigError(message)
        identity = Identity(
            member=answer.json()["member"],
            key=key,
            genesis_hash=bytes.fromhex(status["genesis_hash"]),
            ledger=bytes.fromhex(status["ledger"]),
        )
        client = Client(
            identity=identity,
            job=job,
            servers=known,
            trainer=trainer(identity.member),
            interval_s=interval,
            directory=directory,
            clock=clock,
        )
        await client.run()
    return Learned(identity.member, client.steps)


class TorchTrainer:
    """Trains a module by plain SGD, as the job asks: samples, epochs, batch size, learning rate.

    Deterministic for one torch thread. Raises `InvalidModel` for a module that cannot travel as a vector, and
    `TrainingFailed` without samples.
    """

    def __init__(
        self, module: nn.Module, data: Samples, *, loss: Loss = functional.cross_entropy, seed: int = 0
    ) -> None:
        """Take what is the user's own."""
        models.check(type(module).__name__, module)
        if not len(data):
            raise TrainingFailed(reason="the data set has no samples")
        self._module, self._data, self._loss, self._seed = module, data, loss, seed

    def train(self, parameters: Reals, job: JobFile, step: int, task: Task) -> Reals:
        """Return the trained parameters, float64[d]; InvalidModel if the job's model is of another size."""
        models.unflatten(self._module, parameters)
        everything = np.arange(len(self._data), dtype=np.int64)
        chosen = arrivals(everything, first=task.first, count=task.samples, seed=self._seed)
        seed = seed_of(self._seed, "step", step) % _SEED_END
        batches: DataLoader[tuple[Tensor, Tensor]] = DataLoader(
            Subset(self._data, chosen.tolist()),  # type: ignore[arg-type] # whatever counts and gives samples will do
            batch_size=job.training.batch,
            shuffle=True,
            generator=torch.Generator().manual_seed(seed),
        )
        descent = torch.optim.SGD(self._module.parameters(), lr=job.training.learning_rate)
        self._module.train()
        with torch.random.fork_rng(devices=[]):  # dropout and the like: repeatable, and nobody else's chance
            torch.manual_seed(seed)
            for _ in range(task.epochs):
                for inputs, targets in batches:
                    descent.zero_grad()
                    self._loss(self._module(inputs), targets).backward()  # type: ignore[no-untyped-call] # torch's own
                    descent.step()
        return models.flatten(self._module)


def model_0(module: nn.Module, job_file: JobFile) -> bytes:
    """Return a module's present parameters as the blob of model 0, for `merit job create --model`.

    Raises:
        ConfigError: the job file says another dimension, or they do not fit its fixed point.
        InvalidModel: the module cannot travel as a vector.

    """
    models.check(type(module).__name__, module)
    if models.dimension(module) != job_file.model.dimension:
        message = f"the module has {models.dimension(module)} parameters, the job file says {job_file.model.dimension}"
        raise ConfigError(message)
    terms = job_file.learner_terms()
    fixed = fix_model(models.flatten(module), terms.model_fraction_bits)
    if isinstance(fixed, Rejected):
        message = f"model 0: {fixed.detail}"
        raise ConfigError(message)
    return encode_model(fixed, terms.model_fraction_bits)


def _http(servers: Sequence[str], trust: Path | None) -> httpx.AsyncClient:
    secure = [url for url in servers if url.startswith("https:")]
    if secure and trust is None:
        message = f"{secure[0]}: name the edge servers' certificates to trust (--trust FILE)"
        raise ConfigError(message)
    if trust is None:
        return httpx.AsyncClient()
    return httpx.AsyncClient(mounts={"https://": async_transport(certificates.read(trust))})


def _first_line(file: Path) -> bytes:
    try:
        return file.read_bytes().splitlines()[0]
    except (OSError, IndexError):
        message = f"{file}: no password in its first line"
        raise ConfigError(message) from None
