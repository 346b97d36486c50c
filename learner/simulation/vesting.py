"""Pay that is credited at once and released later, if the client's record with the scoring rule still stands then."""

from collections import deque
from typing import TYPE_CHECKING

from learner.simulation.ledger import Round
from learner.vesting import fallen

if TYPE_CHECKING:
    from learner.contribution.round import History


class Vesting:
    """Releases the pay of a round `rounds` rounds later, what is left at the end (0: all of it then)."""

    def __init__(self, scoring: str, rounds: int) -> None:
        """Nothing is credited yet."""
        self._scoring, self._rounds = scoring, rounds
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
        lost = fallen(self._scoring, self._history)
        for client, reward in pay.items():
            if client not in lost:
                self.released[client] = self.released.get(client, 0) + reward
