"""A witness that shows another chain makes evidence that the true chain's verifier accepts, or accuses nobody."""

from dataclasses import dataclass, replace

import pytest

from chain import light
from chain.light import errors
from tests.chain.light.certificates import CHAIN_ID, key, make_commit
from tests.chain.light.chains import Powers, Shown, at, make_chain, policy

FOUR: Powers = ((1, 1), (2, 1), (3, 1), (4, 1))
LIARS: Powers = ((1, 1), (2, 1), (9, 1))
TRUE = make_chain([FOUR] * 10)
NOW = at(200)
TARGET = light.Height(9)


@dataclass
class Past:
    """What the true chain was like."""

    blocks: tuple[light.LightBlock, ...]

    def validators(self, height: int) -> light.ValidatorSet:
        return self.blocks[height - 1].validators

    def time(self, height: int) -> light.Timestamp:
        return self.blocks[height - 1].header.time

    def header_hash(self, height: int) -> bytes:
        return light.header_hash(self.blocks[height - 1].header)


def compare(primary: Shown, witness: Shown) -> light.Fork | None:
    trace = light.bisect(TRUE[0], TARGET, primary, policy(), NOW)
    return light.compare(trace, primary, witness, policy(), NOW)


def proves(evidence: light.LightClientAttack) -> set[bytes]:
    """Return whom the evidence convicts before those who have the true chain."""
    assert light.decode_evidence(light.encode_evidence(evidence)) == evidence
    age = light.EvidenceAge(100, 10**12)
    light.verify_evidence(evidence, TRUE[-1].header, Past(TRUE), CHAIN_ID, age)
    return {one.public_key for one in evidence.byzantine}


def keys(powers: Powers) -> set[bytes]:
    return {key(number).public_key for number, _ in powers}


def test_a_witness_of_the_same_chain_finds_nothing() -> None:
    assert compare(Shown(TRUE), Shown(TRUE)) is None


def test_equivocation_is_proven_against_all_who_signed_both() -> None:
    fork = compare(Shown((*TRUE[:5], *map(_with_data, TRUE[5:]))), Shown(TRUE))
    assert fork is not None
    assert (fork.common.height, fork.shown.height) == (1, 9)
    assert fork.against_primary.common_height == 9
    assert proves(fork.against_primary) == keys(FOUR)
    assert fork.against_witness is not None
    assert (fork.against_witness.header, fork.against_witness.commit) == (TRUE[8].header, TRUE[8].commit)


def _with_data(block: light.LightBlock, round_: int = 0) -> light.LightBlock:
    """Return a block of other transactions, which any proposer may choose."""
    header = replace(block.header, data_hash=b"\x09" * 32)
    return light.LightBlock(header, make_commit(header, block.validators, round_=round_), block.validators)


def test_a_header_that_no_execution_leads_to_convicts_its_signers_of_the_common_height() -> None:
    false = make_chain([FOUR] * 5 + [LIARS] * 5, common=TRUE[:4], app_hash=b"\x02" * 32)
    fork = compare(Shown(false), Shown(TRUE))
    assert fork is not None
    assert (fork.common.height, fork.shown, fork.witnessed) == (1, false[8], TRUE[8])
    assert fork.against_primary.common_height == 1
    assert proves(fork.against_primary) == keys(((1, 1), (2, 1)))


def test_two_rounds_convict_nobody_by_name() -> None:
    fork = compare(Shown((*TRUE[:8], _with_data(TRUE[8], round_=1))), Shown(TRUE))
    assert fork is not None
    assert fork.against_primary.byzantine == ()
    assert proves(fork.against_primary) == set()


def test_one_block_that_was_decided_in_two_rounds_is_no_fork() -> None:
    again = replace(TRUE[8], commit=make_commit(TRUE[8].header, TRUE[8].validators, round_=1))
    assert compare(Shown((*TRUE[:8], again)), Shown(TRUE)) is None


def test_a_lying_witness_is_convicted_and_the_primary_source_is_not() -> None:
    false = make_chain([FOUR] * 5 + [LIARS] * 5, common=TRUE[:4], app_hash=b"\x02" * 32)
    fork = compare(Shown(TRUE), Shown(false))
    assert fork is not None
    assert fork.against_witness is not None
    assert proves(fork.against_witness) == keys(((1, 1), (2, 1)))
    with pytest.raises(errors.EvidenceError, match="false header"):
        proves(fork.against_primary)


def test_a_witness_that_cannot_prove_its_header_accuses_nobody() -> None:
    strangers = make_chain([((9, 1), (10, 1))] * 10)
    with pytest.raises(errors.LightError):
        compare(Shown(TRUE), Shown(strangers))
    unsigned = replace(TRUE[8], header=replace(TRUE[8].header, app_hash=b"\x03" * 32))
    with pytest.raises(errors.WrongBlockError):
        compare(Shown(TRUE), Shown((*TRUE[:8], unsigned)))


def test_a_witness_that_is_behind_is_named() -> None:
    with pytest.raises(errors.MissingBlockError):
        compare(Shown(TRUE), Shown(TRUE[:5]))


def test_a_primary_source_that_takes_back_what_it_showed_leaves_the_evidence_against_it() -> None:
    false = make_chain([FOUR] * 5 + [LIARS] * 5, common=TRUE[:4], app_hash=b"\x02" * 32)
    primary = Shown(false)
    trace = light.bisect(TRUE[0], TARGET, primary, policy(), NOW)
    primary.blocks = {}
    fork = light.compare(trace, primary, Shown(TRUE), policy(), NOW)
    assert fork is not None
    assert fork.against_witness is None
    assert proves(fork.against_primary) == keys(((1, 1), (2, 1)))
