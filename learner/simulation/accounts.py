"""What taking part brought and cost each client of a run, in mean costs of an honest client's update."""

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean

from learner.simulation.costs import Work, cost
from learner.simulation.ledger import Round
from learner.simulation.population import Client, Role
from learner.simulation.scenario import DeviceClasses, Scenario
from learner.simulation.timing import Stopwatch


class Accounts:
    """Pay and costs by client; without costs in the scenario nobody has any."""

    def __init__(self, scenario: Scenario, everybody: Sequence[Client], stopwatch: Stopwatch, dimension: int) -> None:
        """Work out what an honest update costs on average, over all clients who are no attackers."""
        self._scenario, self._everybody = scenario, everybody
        self._stopwatch, self._dimension = stopwatch, dimension
        self._pay_wei: Counter[int] = Counter()
        self._mean = 1.0
        if scenario.costs is not None:
            epochs = scenario.training.epochs
            honest = [one for one in everybody if one.role is not Role.ATTACKER]
            self._mean = fmean(self._euro(one, Work(1, epochs * len(one.data))) for one in honest)

    @property
    def wei_worth(self) -> float:
        """What a wei is worth, by what a full round pays; 0 without costs."""
        costs, scenario = self._scenario.costs, self._scenario
        return 0.0 if costs is None else costs.worth * scenario.server.phi / scenario.rules.base_reward_wei

    def decided(self, decided: Round) -> None:
        """Book the pay of a round."""
        for record, reward in zip(decided.records, decided.rewards_wei, strict=True):
            self._pay_wei[record.client] += reward

    def costs(self, sent: Mapping[int, int], passes: Mapping[int, int]) -> tuple[float, ...]:
        """Give each client's costs for updates `sent` and samples times epochs trained; nothing without costs."""
        if self._scenario.costs is None:
            return ()
        return tuple(
            self._euro(one, Work(sent.get(one.number, 0), passes.get(one.number, 0))) / self._mean
            for one in self._everybody
        )

    def losing(self, sent: Mapping[int, int], passes: Mapping[int, int], after: int) -> set[int]:
        """Name the clients who sent `after` updates or more and earned less than they cost."""
        costs = self.costs(sent, passes)
        return {
            client
            for client, spent in enumerate(costs)
            if sent.get(client, 0) >= after and self._pay_wei[client] * self.wei_worth < spent
        }

    def _euro(self, client: Client, work: Work) -> float:
        costs, speed = self._scenario.costs, self._scenario.speed
        if costs is None or not isinstance(speed, DeviceClasses):
            raise TypeError(speed)
        slow = self._scenario.outliers.slow_factor if client.role is Role.SLOW else 1.0
        return cost(costs, self._stopwatch.device(client.number, speed), self._dimension, work, slowness=slow)
