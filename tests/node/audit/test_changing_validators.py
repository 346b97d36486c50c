"""Validators that votes and evidence change, and versions that switch: followed over the network by executing again."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from chain import light
from chain.engines.base import EngineName
from chain.rpc.dispatcher import Dispatcher
from merit.clock import SystemClock
from node.audit import AuditReport, Part, audit_network
from tests.node.audit.serving import Lie, Loop, proxy
from tests.node.audit.voting_chain import (
    AFTER,
    BEFORE,
    EXECUTED,
    PUNISHED,
    SWITCHES,
    TOP,
    VOTED,
    VotingChain,
    block_id,
    double_vote,
    voted,
)

Audit = Callable[..., AuditReport]


@pytest.fixture(scope="module")
def loop() -> Iterator[Loop]:
    running = Loop()
    yield running
    running.end()


@pytest.fixture(scope="module")
def audit(loop: Loop) -> Audit:
    """Serve a chain, with lies about it, and audit it."""

    def audited(chain: VotingChain, lies: dict[str, Lie] | None = None) -> AuditReport:
        engine: Any = chain

        async def start() -> Dispatcher:
            return Dispatcher(chain.replica.app, engine, SystemClock())

        server = loop.serve(proxy(loop.run(start()), lies or {}))
        try:
            return audit_network([server.url])
        finally:
            loop.run(server.stop())

    return audited


@pytest.fixture(scope="module")
def chain() -> VotingChain:
    return VotingChain()


def counts(report: AuditReport) -> dict[str, int]:
    return next(tally for tally in report.tallies if tally.name == "heights").counts


def test_validators_and_versions_that_votes_and_evidence_change_audit_clean(chain: VotingChain, audit: Audit) -> None:
    reader = chain.replica.reader
    assert [reader.versions(number) for number in (SWITCHES[0] - 1, *SWITCHES)] == [
        (1, 1, 1), (2, 1, 1), (2, 2, 1), (2, 2, 2),
    ]  # fmt: skip
    assert {seat.public_key for seat in reader.validators()} == {one.public_key for one in AFTER}
    report = audit(chain)
    assert report.ok, report.lines
    assert report.height == TOP
    absent = 1
    found = counts(report)
    assert found["different commit signatures"] == sum(len(voted(height)) for height in range(1, TOP + 1)) - absent
    assert (found["validator updates"], found["reports of misbehavior"]) == (4, 1)


def test_headers_name_the_execution_version_of_genesis_also_after_a_switch(chain: VotingChain) -> None:
    assert {header.app_version for header in chain.headers.values()} == {chain.genesis.versions.execution}


WRONG = {
    "nobody changes": (lambda _: BEFORE, EXECUTED + 1),
    "a change comes a height early": (lambda height: voted(height + 1), EXECUTED),
    "a change comes a height late": (lambda height: voted(height - 1), EXECUTED + 1),
    "who was expelled stays": (lambda height: BEFORE if height < EXECUTED + 2 else VOTED, PUNISHED + 1),
}


@pytest.mark.parametrize("lie", WRONG)
def test_validators_that_the_ledger_did_not_agree_on_are_named(audit: Audit, lie: str) -> None:
    """All validators of each height have signed it; what they agreed on is still not what their ledger says."""
    who, first_wrong = WRONG[lie]
    report = audit(VotingChain(validators_of=who))
    assert report.first is not None, report.lines
    assert (report.first.part, report.first.height) == (Part.VALIDATORS, first_wrong)


def test_one_rule_holds_whatever_engine_a_node_names(chain: VotingChain, audit: Audit) -> None:
    report = audit(chain, {"merit_status": lambda status: {**status, "engine": EngineName.EMBEDDED}})
    assert report.ok, report.lines
    assert counts(report)["validator updates"] == 4


def test_a_node_that_names_an_engine_that_there_is_not_is_a_divergence(chain: VotingChain, audit: Audit) -> None:
    report = audit(chain, {"merit_status": lambda status: {**status, "engine": "tendermint"}})
    assert report.first is not None
    assert report.first.part is Part.ANSWER


def test_validators_that_a_node_names_and_the_chain_does_not_have_are_a_divergence(
    chain: VotingChain, audit: Audit
) -> None:
    report = audit(chain, {"merit_validators": lambda found: found[:2]})
    assert report.first is not None
    assert (report.first.part, report.first.height) == (Part.VALIDATORS, TOP + 1)


def test_a_validator_that_left_cannot_decide_any_more(chain: VotingChain, audit: Audit) -> None:
    """The slots of genesis's validators for a height that others decide."""
    height = EXECUTED + 2
    found = chain.commits[height]
    slots = tuple(
        light.CommitSig(light.BlockIdFlag.COMMIT, one.address, found.signatures[0].timestamp, b"x" * 3309)
        for one in BEFORE
    )

    def old(page: Any) -> Any:
        page["heights"][height - 1]["commit"] = f"0x{light.encode_commit(replace(found, signatures=slots)).hex()}"
        return page

    report = audit(chain, {"merit_heights": old})
    assert report.first is not None
    assert (report.first.part, report.first.height) == (Part.COMMIT, height)


def in_page(change: Callable[[str], str]) -> dict[str, Lie]:
    def told(page: Any) -> Any:
        entry = page["heights"][PUNISHED - 1]
        entry["evidence"] = change(entry["evidence"])
        return page

    return {"merit_heights": told}


@pytest.mark.parametrize(
    "change",
    [
        lambda _: "0x",
        lambda text: text[:-2] + f"{int(text[-2:], 16) ^ 1:02x}",
        lambda text: text + text[2:],
        lambda text: text[:-2],
    ],
    ids=["left out", "a bit flipped", "doubled", "cut"],
)
def test_evidence_that_a_node_tells_otherwise_is_named(
    chain: VotingChain, audit: Audit, change: Callable[[str], str]
) -> None:
    report = audit(chain, in_page(change))
    assert report.first is not None
    assert (report.first.part, report.first.height) == (Part.EVIDENCE, PUNISHED)


TIMELY = light.Timestamp(1)
FALSE: dict[str, tuple[Callable[[light.Timestamp], list[light.Evidence]], str]] = {
    "signed by somebody else": (lambda time: [double_vote(time, signer=2)], "first vote"),
    "another time": (lambda _: [double_vote(TIMELY)], "time"),
    "another power": (lambda time: [double_vote(time, validator_power=2)], "power"),
    "another total": (lambda time: [double_vote(time, total_power=5)], "total power"),
    "one vote twice": (lambda time: [double_vote(time, vote_b=double_vote(time).vote_a)], "blocks"),
    "a vote for another height": (
        lambda time: [double_vote(time, vote_b=replace(double_vote(time).vote_b, height=light.Height(3)))],
        "height of both votes",
    ),
    "a vote for another block than was signed": (
        lambda time: [double_vote(time, vote_b=replace(double_vote(time).vote_b, block_id=block_id(b"c")))],
        "second vote",
    ),
    "the same twice": (lambda time: [double_vote(time)] * 2, "once"),
}


@pytest.mark.parametrize("false", FALSE)
def test_evidence_that_proves_nothing_is_named_whoever_signed_the_block(audit: Audit, false: str) -> None:
    proof, said = FALSE[false]
    report = audit(VotingChain(proof=proof))
    assert report.first is not None, report.lines
    assert (report.first.part, report.first.height) == (Part.EVIDENCE, PUNISHED)
    assert said in report.first.expected


def test_evidence_that_comes_again_in_a_later_height_is_named(audit: Audit) -> None:
    report = audit(VotingChain(repeated=True))
    assert report.first is not None, report.lines
    assert (report.first.part, report.first.height) == (Part.EVIDENCE, PUNISHED + 1)
