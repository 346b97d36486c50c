"""The bugs that the simulation has to find."""

from tests.chain.simulation.planting import Bug, Edit


def _bug(name: str, *edits: tuple[str, str, str]) -> Bug:
    return Bug(name, tuple(Edit(f"chain.{module}", old, new) for module, old, new in edits))


_UNSYNCED = (
    (
        "simulation.node",
        "            if release is not None or outputs:\n                self.disk.sync(JOURNAL)\n",
        "",
    ),
    ("simulation.node", "            self.disk.sync(JOURNAL)\n            signature", "            signature"),
)

BUGS = (
    _bug("drop the lock", ("consensus.round", "locked=seen, valid=seen", "valid=seen")),
    _bug(
        "prevote a fresh value against the lock",
        ("consensus.round", "(state.locked is None or state.locked.value_id == event.value_id)", "True"),
    ),
    _bug(
        "prevote an older polka against the lock",
        ("consensus.round", "locked is None or locked.round <= event.valid_round", "True"),
    ),
    _bug(
        "unlock on a polka for nil",
        (
            "consensus.round",
            "return _precommit_nil(state)  # L45, L46",
            "return _precommit_nil(replace(state, locked=None))",
        ),
    ),
    _bug(
        "propose something new though a value is valid",
        ("consensus.round", "if state.valid is not None:  # L15", "if False:"),
    ),
    _bug(
        "take a claimed polka for granted",
        ("consensus.driver", "proposal.value_id in earlier.prevotes.quorums", "proposal.value_id"),
    ),
    _bug(
        "prevote invalid values",
        ("consensus.round", "acceptable = event.valid and (state.locked", "acceptable = (state.locked"),
    ),
    _bug(
        "a stale timer fires",
        ("consensus.round", "case TimeoutElapsed() if event.round == state.round:", "case TimeoutElapsed():"),
    ),
    _bug(
        "no timeout to propose",
        ("consensus.round", "case Step.PROPOSE if state.step == Step.PROPOSE:  # L58", "case Step.COMMIT:"),
    ),
    _bug(
        "no timeout to prevote",
        ("consensus.round", "case Step.PREVOTE if state.step == Step.PREVOTE:  # L62", "case Step.COMMIT:"),
    ),
    _bug("no timeout to precommit", ("consensus.round", "case Step.PRECOMMIT:  # L66", "case Step.COMMIT:")),
    _bug("skip rounds without f + 1", ("consensus.validators", "3 * power >= self.total_power", "power > 0")),
    _bug(
        "a quorum of exactly two thirds",
        ("consensus.validators", "3 * power > 2 * self.total_power", "3 * power >= 2 * self.total_power"),
    ),
    _bug(
        "a quorum of a majority",
        ("consensus.validators", "3 * power > 2 * self.total_power", "2 * power > self.total_power"),
    ),
    _bug("count heads, not power", ("consensus.votes", "power = validators.powers[vote.validator]", "power = 1")),
    _bug(
        "count a vote twice",
        ("consensus.votes", "            if vote in said:\n                return Added.DUPLICATE\n", ""),
    ),
    _bug(
        "count who equivocates twice",
        (
            "consensus.votes",
            "            said.append(vote)\n",
            "            said.append(vote)\n            self.power_any += power\n",
        ),
    ),
    _bug(
        "count precommits as prevotes",
        (
            "consensus.votes",
            "return self.prevotes if kind == VoteKind.PREVOTE else self.precommits",
            "return self.prevotes",
        ),
    ),
    _bug(
        "decide by prevotes",
        (
            "consensus.driver",
            "for value_id in self._votes.rounds[round_].precommits.quorums:",
            "for value_id in self._votes.rounds[round_].prevotes.quorums:",
        ),
        (
            "consensus.driver",
            "for known, votes in self._votes.rounds.items() if votes.precommits.quorums]",
            "for known, votes in self._votes.rounds.items() if votes.prevotes.quorums]",
        ),
    ),
    _bug(
        "propose out of turn",
        (
            "consensus.driver",
            "self.proposer(round_) == self.address",
            "self.proposer(Round(round_ + 1)) == self.address",
        ),
    ),
    _bug(
        "accept anybody's proposal",
        ("consensus.driver", "if proposal.validator != self.proposer(proposal.round):", "if False:"),
    ),
    _bug(
        "accuse who repeats a vote",
        (
            "consensus.driver",
            "            case Added.DUPLICATE:\n                return Reason.DUPLICATE\n            case",
            "            case",
        ),
        ("consensus.driver", "case Added.CONFLICT:", "case Added.CONFLICT | Added.DUPLICATE:"),
    ),
    _bug(
        "accept messages of old heights",
        ("consensus.driver", "if message.height != self.height:", "if message.height > self.height:"),
    ),
    _bug(
        "keep all that is said", ("consensus.votes", "if len(said) >= STATEMENTS_KEPT and not certified:", "if False:")
    ),
    _bug(
        "keep rounds that are far ahead",
        ("consensus.driver", "if vote.round > self.state.round + ROUNDS_AHEAD:", "if False:"),
    ),
    _bug("repeat no polka", ("consensus.driver", "return CatchUp(tuple(certificates),", "return CatchUp((),")),
    _bug("repeat no votes", ("consensus.driver", "tuple(votes), tuple(proposals))", "(), tuple(proposals))")),
    _bug("let outputs out before the journal is flushed", *_UNSYNCED),
    _bug(
        "lose unsynced inputs and keep no record of signatures",
        *_UNSYNCED,
        ("simulation.node", "            self.disk.replace(SIGNER, encode_last_signature(self._last))\n", ""),
    ),
    _bug(
        "forget the journal at a restart",
        ("simulation.node", "self._replay(found.inputs, found.journal)", "self._next_height()"),
    ),
    _bug("leave a torn end in place", ("simulation.node", "self.disk.cut(JOURNAL, found.length)", "pass")),
    _bug(
        "vote with damaged files",
        ("simulation.node", "address = NOBODY if silent else self.address", "address = self.address"),
    ),
    _bug(
        "start no timers after a restart",
        ("simulation.node", "                return timeout.round == now\n", "                return False\n"),
    ),
    _bug(
        "believe unsigned messages",
        (
            "simulation.node",
            "elif all(self.world.keys.holds(statement) for statement in unknown):",
            "elif len(unknown) > 0:",
        ),
    ),
    _bug(
        "do not catch up who lags",
        ("simulation.node", "self._send(sender, Decision(decided.proposal.height, decided))", "pass"),
    ),
)

HARD = (
    "prevote an older polka against the lock",
    "vote with damaged files",
    "start no timers after a restart",
)
"""Those that need many seeds, so that only the long test run looks for them."""
