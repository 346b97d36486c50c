"""Skipping comes to what following every height comes to, and never believes what too little trusted power signed."""

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain import light
from chain.light import errors
from tests.chain.light.certificates import CHAIN_ID, make_commit
from tests.chain.light.chains import BLOCK_S, Powers, Shown, at, make_chain, policy, with_votes

FOUR: Powers = ((1, 1), (2, 1), (3, 1), (4, 1))
OTHERS: Powers = ((5, 1), (6, 1), (7, 1), (8, 1))
STEADY = make_chain([FOUR] * 10)
ROTATING = make_chain([tuple((1 + (height + slot) % 16, 1) for slot in range(4)) for height in range(13)])
NOW = at(200)


def skip(
    trusted: light.LightBlock, block: light.LightBlock, now: light.Timestamp = NOW, **changes: object
) -> light.LightBlock:
    light.verify_skip(trusted, block, policy(**changes), now)
    return block


def follow(trusted: light.LightBlock, blocks: list[light.LightBlock]) -> light.LightBlock:
    """The oracle: every height follows from the one before it, and its own validators signed it."""
    for block in blocks:
        assert block.header.validators_hash == trusted.header.next_validators_hash
        assert block.header.last_block_id == trusted.commit.block_id
        light.verify_commit(block.header, block.commit, block.validators, CHAIN_ID)
        trusted = block
    return trusted


def test_with_the_same_validators_one_step_is_enough() -> None:
    source = Shown(STEADY)
    assert light.bisect(STEADY[0], light.Height(9), source, policy(), NOW) == (STEADY[0], STEADY[8])
    assert source.asked == [9]


def test_where_all_validators_change_step_by_step_heights_between_are_asked_for_once() -> None:
    source = Shown(ROTATING)
    trace = light.bisect(ROTATING[0], light.Height(12), source, policy(), NOW)
    assert trace[-1] == ROTATING[11]
    assert len(trace) > 3
    assert len(set(source.asked)) == len(source.asked) < 11


def test_the_next_height_needs_no_common_validator() -> None:
    chain = make_chain([FOUR, OTHERS, OTHERS])
    assert light.bisect(chain[0], light.Height(2), Shown(chain), policy(), NOW)[-1] == chain[1]


@settings(max_examples=25, deadline=None)
@given(
    sets=st.lists(
        st.dictionaries(st.integers(1, 8), st.integers(1, 5), min_size=1, max_size=4).map(
            lambda powers: tuple(sorted(powers.items()))
        ),
        min_size=3,
        max_size=12,
    ),
    data=st.data(),
)
def test_bisection_comes_to_the_header_that_following_every_height_comes_to(
    sets: list[Powers], data: st.DataObject
) -> None:
    chain = make_chain(sets)
    first = data.draw(st.integers(1, len(chain) - 1), label="trusted")
    target = data.draw(st.integers(first + 1, len(chain)), label="target")
    trusted = chain[first - 1]
    trace = light.bisect(trusted, light.Height(target), Shown(chain), policy(), NOW)
    assert trace[-1] == follow(trusted, list(chain[first:target]))
    assert all(block == chain[block.height - 1] for block in trace)


@settings(max_examples=60, deadline=None)
@given(
    trusted=st.dictionaries(st.integers(1, 6), st.integers(1, 5), min_size=1, max_size=4),
    later=st.dictionaries(st.integers(1, 6), st.integers(1, 5), min_size=1, max_size=4),
    voters=st.frozensets(st.integers(0, 3)),
    level=st.sampled_from([Fraction(1, 3), Fraction(1, 2), Fraction(2, 3)]),
)
def test_a_header_is_believed_exactly_if_both_thresholds_are_passed(
    trusted: dict[int, int], later: dict[int, int], voters: frozenset[int], level: Fraction
) -> None:
    before, after = tuple(sorted(trusted.items())), tuple(sorted(later.items()))
    chain = make_chain([before, before, after, after])
    block = with_votes(chain[2], voters)
    signers = {validator.public_key for index, validator in enumerate(block.validators) if index in voters}
    of_trusted = sum(one.power for one in chain[0].validators if one.public_key in signers)
    of_its_own = sum(one.power for one in block.validators if one.public_key in signers)
    enough = of_trusted * level.denominator > sum(trusted.values()) * level.numerator
    quorum = 3 * of_its_own > 2 * sum(later.values())
    if enough and quorum:
        skip(chain[0], block, trust_level=level)
    else:
        with pytest.raises(errors.CertificateError if enough else errors.NotEnoughTrustError):
            skip(chain[0], block, trust_level=level)


def test_exactly_a_third_of_the_trusted_power_is_not_enough() -> None:
    chain = make_chain([((1, 1), (2, 1), (3, 1)), ((1, 1),), ((1, 1),), ((1, 1),)])
    with pytest.raises(errors.NotEnoughTrustError) as caught:
        skip(chain[0], chain[2])
    assert (caught.value.signed, caught.value.total) == (1, 3)


def test_claimed_signers_of_the_trusted_set_must_have_signed() -> None:
    chain = make_chain([FOUR, FOUR, FOUR, FOUR])
    forged = replace(chain[2].commit.signatures[1], signature=chain[2].commit.signatures[0].signature)
    slots = (chain[2].commit.signatures[0], forged, *chain[2].commit.signatures[2:])
    with pytest.raises(errors.BadSignatureError):
        skip(chain[0], replace(chain[2], commit=replace(chain[2].commit, signatures=slots)))


def test_a_cut_set_of_validators_is_not_the_headers() -> None:
    block = STEADY[4]
    cut = light.ValidatorSet(block.validators.validators[:3])
    signed = replace(block.commit, signatures=block.commit.signatures[:3])
    with pytest.raises(errors.WrongValidatorsError):
        skip(STEADY[0], light.LightBlock(block.header, signed, cut))
    with pytest.raises(errors.WrongSignatureCountError):
        skip(STEADY[0], replace(block, commit=signed))


def test_validators_that_nobody_announced_cannot_follow_at_the_next_height() -> None:
    fork = make_chain([FOUR, OTHERS, OTHERS])
    with pytest.raises(errors.UnexpectedValidatorsError):
        skip(STEADY[0], fork[1])


def test_the_next_height_names_the_block_before_it() -> None:
    other = make_chain([FOUR] * 3, app_hash=b"\x02" * 32)
    with pytest.raises(errors.WrongLastBlockError):
        skip(STEADY[0], other[1])


def test_trust_ends_with_its_period_to_the_nanosecond() -> None:
    period = 100 * 10**9
    skip(STEADY[0], STEADY[5], at(100 - 1e-9), trusting_period_ns=period)
    with pytest.raises(errors.TrustExpiredError) as caught:
        skip(STEADY[0], STEADY[5], at(100), trusting_period_ns=period)
    assert caught.value.trusted_height == 1


def test_a_header_may_be_ahead_of_the_clock_by_less_than_the_drift() -> None:
    time = 5 * BLOCK_S
    skip(STEADY[0], STEADY[5], at(time - 2 + 1e-9), clock_drift_ns=2 * 10**9)
    with pytest.raises(errors.FutureHeaderError):
        skip(STEADY[0], STEADY[5], at(time - 2), clock_drift_ns=2 * 10**9)


def test_time_and_height_rise() -> None:
    with pytest.raises(errors.NotAheadError):
        skip(STEADY[5], STEADY[5])
    with pytest.raises(errors.NotAheadError):
        light.bisect(STEADY[5], light.Height(6), Shown(STEADY), policy(), NOW)
    early = replace(STEADY[6].header, time=STEADY[5].header.time)
    with pytest.raises(errors.WrongTimeError):
        skip(STEADY[5], light.LightBlock(early, make_commit(early, STEADY[6].validators), STEADY[6].validators))


def test_a_source_must_have_what_is_asked_for() -> None:
    with pytest.raises(errors.MissingBlockError) as caught:
        light.bisect(STEADY[0], light.Height(99), Shown(STEADY), policy(), NOW)
    assert caught.value.height == 99
    source = Shown(STEADY)
    source.blocks = {9: STEADY[7]}
    with pytest.raises(errors.WrongHeightError):
        light.bisect(STEADY[0], light.Height(9), source, policy(), NOW)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"trust_level": Fraction(1, 4)}, "between 1/3 and 1"),
        ({"trust_level": Fraction(4, 3)}, "between 1/3 and 1"),
        ({"trusting_period_ns": 0}, "trusting period"),
        ({"clock_drift_ns": -1}, "clock drift"),
    ],
)
def test_a_policy_that_is_not_safe_is_refused(changes: dict[str, object], why: str) -> None:
    with pytest.raises(errors.TrustPolicyError, match=why):
        policy(**changes)
