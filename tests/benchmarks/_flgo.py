"""A federation in FLGo, for `peers`; run by the interpreter of the environment that has FLGo.

Reads a `peers.Work` as JSON from standard input and writes a `peers.Found` to standard output. Servers, clients, local
training, clock and evaluation are FLGo's own; of us are the samples, the first model, and how long each update takes.
"""

import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType, SimpleNamespace
from typing import Any

import flgo
import msgspec
import torch
from flgo.algorithm import fedasync, fedavg, fedbuff
from flgo.benchmark.base import BasicTaskPipe
from flgo.benchmark.toolkits.cv.classification import GeneralCalculator
from flgo.simulator.base import BasicSimulator
from flgo.utils.fmodule import FModule
from torch.utils.data import TensorDataset

from learner.data import Dataset, Split
from learner.models import build
from learner.simulation.edge import hold_out
from learner.simulation.grid import load
from learner.simulation.population import Client, population
from learner.simulation.scenario import Asynchronous, Scenario
from learner.simulation.timing import MICROSECONDS, Stopwatch
from learner.training import EVALUATION_BATCH, one_thread
from merit.chance import seed_of
from merit.clock import thread_seconds
from tests.benchmarks.peers import TICK_US, Found, Work

ALGORITHMS = {"fedavg": fedavg, "fedasync": fedasync, "fedbuff": fedbuff}
TASK = "federation"


def play(work: Work, directory: Path) -> Found:
    """Run FLGo's algorithm until so many updates were made; `directory` is for the files that FLGo wants."""
    scenario = work.scenario
    split = load(scenario, Path(work.mnist))
    clients = population(scenario, hold_out(scenario, split.train)[0])
    made: Counter[int] = Counter()
    core = ModuleType(f"{TASK}.core")
    core.TaskPipe, core.TaskCalculator = _pipe(clients, split.test), GeneralCalculator  # type: ignore[attr-defined]
    sys.modules[core.__name__] = core  # where FLGo looks for a task's parts
    (directory / "record").mkdir()
    (directory / "info").write_text(f'{{"benchmark": "{TASK}"}}', encoding="utf-8")
    runner = flgo.init(
        str(directory),
        _counted(work.algorithm, made),
        _options(work.algorithm, scenario),
        model=_model(scenario, split),
        Simulator=_simulator(scenario, clients, made),
    )
    runner.register_exit_condition(lambda _: made.total() >= work.updates)
    begun = thread_seconds()
    runner.run()
    took = thread_seconds() - begun
    output = runner.gv.logger.output
    seconds = [tick * TICK_US / MICROSECONDS for tick in output["time"]]
    return Found(made.total(), took, list(zip(seconds, output["test_accuracy"], strict=True)))


def _options(algorithm: str, scenario: Scenario) -> dict[str, Any]:
    """Say in FLGo's words what the scenario says; clients at work and buffers are shares of all clients there."""
    server, training = scenario.server, scenario.training
    at_work = server.concurrency if isinstance(server, Asynchronous) else server.phi
    options = {
        "num_rounds": 10**9,
        "proportion": _share(at_work, scenario.clients),
        "sample": "uniform_available",
        "num_epochs": training.epochs,
        "batch_size": training.batch_size,
        "learning_rate": training.learning_rate,
        "optimizer": "SGD",
        "train_holdout": 0.0,
        "test_batch_size": EVALUATION_BATCH,
        "eval_interval": scenario.evaluate_every * (server.phi if algorithm == "fedasync" else 1),
        "seed": scenario.seed,
        "no_log_console": True,
        "no_tqdm": True,
    }
    return options | ({"algo_para": [_share(server.phi, scenario.clients), 1.0]} if algorithm == "fedbuff" else {})


def _share(count: int, clients: int) -> float:
    """Give a share of the clients of which FLGo, cutting off decimals, makes so many again."""
    return (count + 0.5) / clients


def _counted(algorithm: str, made: Counter[int]) -> SimpleNamespace:
    """Give an algorithm of FLGo with a client that counts its updates."""
    found = ALGORITHMS[algorithm]

    class CountingClient(found.Client):  # type: ignore[name-defined]
        def train(self, model: FModule) -> None:
            super().train(model)
            made[self.id] += 1

    return SimpleNamespace(__name__=algorithm, Server=found.Server, Client=CountingClient)


def _pipe(clients: Sequence[Client], test: Dataset) -> type[BasicTaskPipe]:
    """Deal our samples to FLGo's clients."""

    class TaskPipe(BasicTaskPipe):
        def __init__(self, task_path: str) -> None:
            super().__init__(task_path)
            self.feddata = {"client_names": [str(one.number) for one in clients]}

        def load_data(self, running_time_option: dict[str, Any]) -> dict[str, Any]:
            del running_time_option
            return {"server": {"test": _tensors(test)}} | {
                str(one.number): {"train": _tensors(one.data)} for one in clients
            }

    return TaskPipe


def _tensors(data: Dataset) -> TensorDataset:
    return TensorDataset(torch.from_numpy(data.images), torch.from_numpy(data.labels))


def _model(scenario: Scenario, split: Split) -> type:
    """Give FLGo our model; it starts where ours does, but for the rounding to fixed point."""

    class Network(FModule):
        def __init__(self) -> None:
            super().__init__()
            seed = seed_of(scenario.seed, "model") >> 1
            data = split.train
            self.module = build(scenario.model, features=data.features, classes=data.classes, seed=seed)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.module(images)

    class Model:
        @staticmethod
        def init_global_module(party: Any) -> None:
            if party.id < 0:  # the server
                party.model = Network()

    return Model


def _simulator(scenario: Scenario, clients: Sequence[Client], made: Counter[int]) -> type[BasicSimulator]:
    """Let updates take as long as in our simulation, in whole ticks."""
    stopwatch = Stopwatch(scenario.speed, {}, scenario.seed)

    class Simulator(BasicSimulator):
        def update_client_responsiveness(self, client_ids: list[int]) -> None:
            self.set_variable(client_ids, "latency", [_ticks(client) for client in client_ids])

    def _ticks(client: int) -> int:
        number = made[client] - 1  # asked after it was trained
        samples = len(clients[client].data)
        return -(-stopwatch.duration_us(client, number, samples, scenario.training.epochs) // TICK_US)

    return Simulator


def main() -> None:
    """Play what standard input asks for."""
    work = msgspec.json.decode(sys.stdin.buffer.read(), type=Work)
    with redirect_stdout(sys.stderr), TemporaryDirectory() as directory, one_thread():  # FLGo prints as it goes on
        found = play(work, Path(directory))
    sys.stdout.buffer.write(msgspec.json.encode(found))


if __name__ == "__main__":
    main()
