"""Pay that is credited at once and released later, if the client's record with the scoring rule still stands then."""

from collections import deque
from collections.abc import Callable, Mapping

from learner.contribution.anchored.reputation import Record
from learner.contribution.anchored.thresholds import Thresholds
from learner.contribution.calibrated import Record as Calibrated
from learner.contribution.calibrated import median_client
from learner.contribution.round import History
from learner.simulation.ledger import Round

Standing = Callable[[int, History], bool]
"""Whether what a rule remembers of a client, beside all others, lets its pay go."""


def _anchored(client: int, history: History) -> bool:
    return Record(*history[client]).stands(Thresholds())


def _calibrated(client: int, history: History) -> bool:
    return Calibrated(*history[client]).stands(median_client(history))


STANDINGS: Mapping[str, Standing] = {
    "anchored": _anchored,
    "anchored-shapley": _anchored,
    "calibrated": _calibrated,
    "calibrated-shapley": _calibrated,
}
"""By scoring rule; under a rule that is not here every record stands."""


class Vesting:
    """Releases the pay of a round `rounds` rounds later, what is left at the end (0: all of it then)."""

    def __init__(self, scoring: str, rounds: int) -> None:
        """Nothing is credited yet."""
        self._standing, self._rounds = STANDINGS.get(scoring), rounds
        self._credited: deque[tuple[int, dict[int, int]]] = deque()
        self._history: History = {}
        self.released: dict[int, int] = {}

    def decided(self, decided: Round) -> None:
        """Credit a round's pay, and release what is due after it."""
        pay: dict[int, int] = {}
        for record, reward in zip(decided.records, decided.rewards_wei, strict=True):
            pay[record.client] = pay.get(record.client, 0) + reward
        self._history = decided.result.history
        self._credited.append((decided.number, pay))
        while self._rounds and self._credited and self._credited[0][0] <= decided.number - self._rounds:
            self._release(self._credited.popleft()[1])

    def end(self) -> dict[int, int]:
        """Settle what is still credited; return what was released to each client in all, in wei."""
        while self._credited:
            self._release(self._credited.popleft()[1])
        return self.released

    def _release(self, pay: dict[int, int]) -> None:
        for client, reward in pay.items():
            if self._standing is None or client not in self._history or self._standing(client, self._history):
                self.released[client] = self.released.get(client, 0) + reward
