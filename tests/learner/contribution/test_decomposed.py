"""The rule `decomposed`: beside an oracle that was written from RULES.md alone, and who is paid beside whom."""

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learner.contribution import REST, Label, Slope
from learner.contribution.decomposed import (
    MEASURES,
    NOTHING,
    STANDING,
    WORTHLESS,
    Record,
    Share,
    Typical,
    typical_client,
    worth,
)
from learner.errors import InvalidRound
from learner.rewards import STEP_TOTAL
from learner.rounds import Outcome, RoundResult
from tests.learner.contribution import oracles
from tests.learner.contribution.test_anchored import vector, window
from tests.learner.contribution.test_calibrated import FLIPPED, honest, world
from tests.learner.contribution.worlds import CLASSES, NUMBER, SLOPE, World, drawn

PPB = 10**9
SEEDS = st.integers(0, 10_000)
LEAST, MOST = -(2**15), 2**15 - 1
EXTREMES = st.one_of(st.sampled_from((0, 0, 1, -1, LEAST, MOST)), st.integers(LEAST, MOST))
RATIOS = ("explained", "honesty", "consistency")


def remembered(*ratios: int, count: int = 8) -> tuple[int, ...]:
    """A record whose measures have these ratios in ppb, each of a whole of 10^9."""
    return Record(count, tuple(Share(one, PPB) for one in ratios)).values


def judged(around: World) -> oracles.Judged:
    """The oracle's word."""
    servers = {
        version: [
            oracles.published(table, kind, None if told is None else {label: bits(told, label) for label in table})
            for table, kind, told in zip(tables, *around.kinds, strict=False)
        ]
        for version, tables in around.tables.items()
    }
    published = [servers.get(base, []) for base in around.bases]
    seen = [[int(x) for x in row] for row in window(around).tolist()]
    return oracles.decomposed(around.updates, around.clients, published, seen, around.history)


def bits(slopes: Mapping[Label, Slope], label: Label) -> int:
    """Those of a gradient by an update as it is encoded: ten bits of fraction."""
    return slopes.get(label, SLOPE).bits + 10


def check(around: World) -> RoundResult:
    """Score a world and hold everything beside the oracle, bit for bit."""
    result, expected = around.scored("decomposed"), judged(around)
    parts = result.parts
    for at, name in enumerate(MEASURES):
        assert parts[name] == tuple(oracles.ratio(*pairs[at]) for pairs in expected.pairs)
    assert parts["new"] == tuple(expected.new)
    assert parts["accepted"] == tuple(PPB * one for one in expected.accepted)
    assert result.history == expected.history
    if result.outcome is not Outcome.MODEL_OVERFLOW:
        assert result.thetas == tuple(expected.thetas)
    return result


def varied(seed: int) -> World:
    """A drawn world with anything about it: servers that lack rows, lie or sketch, odd lengths, records of clients."""
    rng = np.random.default_rng(seed)
    around = drawn(seed, servers=int(rng.integers(1, 6)))
    tables = {
        version: [
            {
                label: [max(-x, -MOST) for x in row] if lies and label[0] != REST else row
                for label, row in server.items()
                if rng.random() > missing
            }
            for server in servers
        ]
        for version, servers in around.tables.items()
        for missing, lies in [(rng.choice((0, 0.1, 0.6)), rng.random() < 0.2)]
        if rng.random() > 0.1
    }
    scales = rng.choice((1, 1, 1, 4, 7, 0, 0.05), len(around.updates))
    updates = [[int(min(max(s * x, LEAST), MOST)) for x in row] for s, row in zip(scales, around.updates, strict=True)]
    history = {
        int(client): (int(rng.integers(0, 9)), *rng.integers(-(10**8), PPB, 8).tolist())
        for client in rng.integers(1, 12, 4)
    }
    kinds = ((b"seed", 16), (b"seed", 8), None)
    sketches = [kinds[at] for at in rng.choice(3, 5, p=(0.6, 0.2, 0.2))] if rng.random() < 0.3 else []
    slopes = [
        None
        if rng.random() < 0.2
        else {(k, k): Slope(int(rng.integers(-256, 257)), 0) for k in range(CLASSES) if rng.random() < 0.5}
        for _ in range(5)
    ]
    return replace(around, tables=tables, updates=updates, history=history, sketches=sketches, slopes=slopes)


@settings(max_examples=60)
@given(SEEDS)
def test_every_number_is_the_one_that_follows_from_the_text(seed: int) -> None:
    assert len(check(varied(seed)).thetas) == 6


@settings(max_examples=30)
@given(SEEDS)
def test_the_step_takes_by_novelty_those_who_are_paid_and_cuts_them(seed: int) -> None:
    around = drawn(seed, count=8)
    result = around.scored("decomposed", staleness="polynomial")
    norms = np.linalg.norm(np.array(around.updates, dtype=float), axis=1)
    cut = np.minimum(1, 1.5 * oracles.lower_middle(norms.tolist()) / norms)
    discounts = np.array([(NUMBER - base) ** -0.5 for base in around.bases])
    shares = np.array(result.parts["new"]) / PPB * discounts * (np.array(result.thetas) > 0)
    expected = shares * cut / max(shares.sum(), discounts.sum() / 2) * STEP_TOTAL
    assert list(result.weights) == pytest.approx(expected.tolist(), abs=20)


@settings(max_examples=30)
@given(SEEDS)
def test_prices_change_pay_alone(seed: int) -> None:
    weights = (PPB, PPB // 5, PPB // 2)
    around = replace(drawn(seed), weights=weights)
    result, expected = around.scored("decomposed"), judged(around)
    prices = result.parts["price"]
    assert result.history == expected.history
    if result.paid:
        paid = [theta * price // PPB for theta, price in zip(expected.thetas, prices, strict=True)]
        assert result.thetas == tuple(paid)


def test_honest_work_is_worth_all_and_a_flipped_sign_and_flipped_labels_nothing() -> None:
    updates = [honest(0), honest(1, 10), honest(2, 11), [-x for x in honest(0)], FLIPPED]
    result = check(world(*updates))
    assert result.thetas == (PPB, PPB, PPB, 0, 0)
    assert result.weights[3:] == (0, 0)
    assert [result.parts[name][4] for name in RATIOS] == [0, 0, 0]


@settings(max_examples=25)
@given(st.integers(0, CLASSES - 1), st.integers(-120, 120), st.integers(-120, 120), st.floats(0.9, 2))
def test_a_blend_earns_nothing_among_honest_ones(of: int, one: int, other: int, strength: float) -> None:
    """An honest update less the peers' mean direction, as long as the update itself or thereabouts."""
    peers = [honest(at, more) for at in range(CLASSES) for more in (9, 10, 11)]
    own, mean = np.array(vector(**{f"c{of}": 300, "c9": one, "c10": other})), np.mean(peers, axis=0)
    blend = own - strength * np.linalg.norm(own) / np.linalg.norm(mean) * mean
    result = check(world(*peers, blend.round().astype(int).tolist()))
    assert result.thetas == (*[PPB] * 9, 0)


@pytest.mark.parametrize(("third", "authentic"), [(-210, 190 / 4), (-410, -210 * 3**0.5)])
def test_right_labels_together_count_for_what_helps_and_not_against_what_harms(third: int, authentic: float) -> None:
    """Two labels learned and one unlearned as much: like none of them, but like their sum, if that is more."""
    update = vector(c0=200, c1=200, c2=third)
    result = check(world(honest(0), honest(1, 10), honest(2, 11), update))
    length = float(np.linalg.norm(update)) * 3**0.5
    assert result.parts["authenticity"][3] == pytest.approx(PPB * authentic / length, abs=50)


def test_what_is_spread_over_many_wrong_labels_is_found_by_consistency() -> None:
    """As honest as need be where each label counts by how much the update has of it, and yet half of it is wrong."""
    spread = vector(c0=300, c4=80, c5=80, c6=80, c7=80)
    result = check(world(honest(0), honest(1, 10), honest(2, 11), spread))
    assert result.parts["honesty"][3] > 700_000_000
    assert result.parts["consistency"][3] < result.parts["honesty"][3] - 150_000_000
    assert result.thetas[3] < PPB // 2


def test_a_near_copy_earns_nothing_and_is_not_held_against_its_sender() -> None:
    copy = vector(c0=301, c9=100)
    result = check(world(honest(0), honest(1, 10), copy))
    assert result.parts["refused"] == (0, 0, PPB)
    assert result.thetas == (PPB, PPB, 0)
    assert result.history[3][0] == 1
    assert result.history[3][1] > PPB // 2
    following = check(world(honest(0, 11), honest(1, 10), clients=[3, 2], history=result.history))
    assert following.thetas[0] > PPB * 99 // 100


@pytest.mark.parametrize(("length", "refused"), [(21_000, 0), (21_001, PPB), (210, 0), (209, PPB)])
def test_an_update_beyond_five_usual_lengths_or_under_a_twentieth_is_refused(length: int, refused: int) -> None:
    usual = [vector(c0=4200), vector(c1=4200), vector(c2=4200)]
    assert check(world(*usual, vector(c9=length))).parts["refused"] == (0, 0, 0, refused)


STEEP = {(2, 2): Slope(SLOPE.bits - 3, 0)}
"""The gradient of label 2 is eight times as long as the others, as that of a label which the model does not know."""


@pytest.mark.parametrize(("length", "refused"), [(7_200, 0), (7_201, PPB)])
def test_a_length_passes_that_the_gradient_of_its_label_explains(length: int, refused: int) -> None:
    """Up to three times the usual effort, 24 usual lengths here."""
    around = world(vector(c0=300), vector(c1=300), vector(c2=length))
    assert check(replace(around, slopes=[STEEP] * 3)).parts["refused"] == (0, 0, refused)
    assert check(around).parts["refused"] == (0, 0, PPB)
    assert check(replace(around, slopes=[None] * 3)).parts["refused"] == (0, 0, PPB)


def test_who_alone_has_a_label_is_paid_for_long_updates() -> None:
    alone = [8 * x for x in honest(2, 11)]
    result = check(replace(world(honest(0), honest(1, 10), alone), slopes=[STEEP] * 3))
    assert result.thetas == (PPB, PPB, PPB)
    assert sum(result.weights[:2]) > result.weights[2] > 0, "and cut in the step"


def test_a_length_that_right_labels_do_not_explain_passes_by_no_effort() -> None:
    result = check(replace(world(honest(0), honest(1, 10), vector(c2=1_600, c11=3_000)), slopes=[STEEP] * 3))
    assert result.parts["explained"][2] == 0, "what it has counts as nothing"
    assert result.parts["refused"] == (0, 0, PPB)


def test_a_short_update_is_refused_at_any_effort() -> None:
    usual = [vector(c0=4200), vector(c1=4200), vector(c2=4200)]
    assert check(world(*usual, vector(c0=209))).parts["refused"][3] == PPB


def test_who_is_too_long_is_no_vote_on_the_usual_effort() -> None:
    """Efforts of an eighth, an eighth, one, one and, too long, 2.9: the lower median of the first four counts."""
    usual = [vector(c2=300, c9=100), vector(c2=300, c10=100), vector(c0=300), vector(c1=300)]
    result = check(replace(world(*usual, vector(c2=7_000)), slopes=[STEEP] * 3))
    assert result.parts["refused"] == (0, 0, 0, 0, PPB)


def test_one_lying_server_of_three_explains_no_length() -> None:
    lie = {(k, k): Slope(-200, 0) for k in range(CLASSES)}
    around = world(vector(c0=300), vector(c1=300), vector(c2=3_000))
    assert check(replace(around, slopes=[{(2, 2): Slope(-200, 0)}])).parts["refused"] == (0, 0, PPB)
    assert check(replace(around, slopes=[lie])).parts["refused"] == (0, 0, PPB)


def test_an_odd_length_is_held_against_its_sender_by_as_much_as_it_would_have_told() -> None:
    long = [100 * x for x in honest(2, 11)]
    result = check(world(honest(0), honest(1, 10), honest(2, 11), long))
    usual, odd = result.history[3], result.history[4]
    assert odd == (1, -PPB // 2, PPB, 0, PPB, 0, usual[6], 0, usual[8])
    assert usual[6] > 0
    bare = check(replace(world(honest(0), honest(1, 10), long), tables={}))
    assert bare.history == {3: (1, -PPB // 2, PPB, 0, 0, 0, 0, 0, 0)}
    assert bare.outcome is Outcome.ALL_ZERO


def test_who_cannot_be_judged_is_paid_nothing_and_remembered_as_before() -> None:
    history = {1: remembered(PPB // 2, PPB // 3, PPB, PPB), 9: remembered(PPB, PPB, PPB, PPB, count=3)}
    around = replace(world(honest(0), honest(1, 10), history=history), bases=[NUMBER - 2, NUMBER - 1])
    result = check(around)
    assert result.parts["judged"] == (0, PPB)
    assert result.thetas[0] == 0
    assert (result.history[1], result.history[9]) == (history[1], history[9])
    assert 1 not in check(replace(around, history={})).history


def test_a_client_without_judged_updates_is_no_vote() -> None:
    """As many such clients as you like are not the median client."""
    nobody = {client: (0, *[-PPB] * 8) for client in range(10, 30)}
    updates = [honest(0), honest(1, 10), honest(2, 11)]
    with_them, without = check(world(*updates, history=nobody)), check(world(*updates))
    assert with_them.thetas == without.thetas == (PPB,) * 3
    assert {client: with_them.history[client] for client in without.history} == without.history


def test_many_updates_of_one_client_are_one_vote() -> None:
    noisy = [[x + 7 * (-1) ** at * (c == at) for c, x in enumerate(FLIPPED)] for at in range(4, 9)]
    result = check(world(honest(0), honest(1, 10), *noisy, clients=[1, 2, 3, 3, 3, 3, 3]))
    assert result.thetas[:2] == (PPB, PPB)
    assert result.thetas[2:] == (0,) * 5


@pytest.mark.parametrize("low", range(4))
def test_one_good_update_does_not_lift_a_client_that_has_cheated_by_any_measure(low: int) -> None:
    good = remembered(800_000_000, 850_000_000, PPB, 950_000_000)
    bad = remembered(*(PPB // 10 if at == low else 800_000_000 for at in range(4)))
    updates = [honest(0), honest(1, 10), honest(2, 11), vector(c0=310, c1=40, c10=90), vector(c1=310, c2=40, c11=90)]
    around = dict.fromkeys(range(1, 6), good)
    assert all(check(world(*updates, history=around)).thetas)
    result = check(world(*updates, history={**around, 5: bad}))
    assert result.parts["accepted"] == (PPB, PPB, PPB, PPB, 0)
    assert result.thetas[4] == 0


def test_a_majority_that_shows_nothing_lets_the_others_be_paid() -> None:
    nothing = [vector(c9=300), vector(c10=300), vector(c11=300)]
    assert check(world(*nothing)).outcome is Outcome.ALL_ZERO
    assert check(world(*nothing, honest(0, 8))).thetas[:3] == (0, 0, 0)
    assert check(world(*nothing, vector(c0=300, c11=20))).thetas == (0, 0, 0, PPB)


def test_an_update_alone_is_its_own_median_unless_something_of_it_is_not_positive() -> None:
    assert check(world(honest(0))).thetas == (PPB,)
    assert check(world(vector(c0=300, c4=200))).thetas == pytest.approx((PPB,), abs=100)
    for alone in (FLIPPED, vector(c9=300), vector(c0=200, c1=-300), [-x for x in honest(0)]):
        assert check(world(alone)).outcome is Outcome.ALL_ZERO


def test_where_two_servers_cancel_each_other_nobody_is_judged() -> None:
    around = world(honest(0), honest(1, 10))
    table = around.tables[NUMBER - 1][0]
    lie = {label: [-x for x in row] for label, row in table.items()}
    result = check(replace(around, tables={NUMBER - 1: [table, lie]}))
    assert result.parts["judged"] == (0, 0)
    assert (result.outcome, result.history) == (Outcome.ALL_ZERO, {})


def test_one_server_is_a_pool_of_its_own() -> None:
    around = drawn(3, servers=1)
    result = check(around)
    assert result.paid
    twice = replace(around, tables={version: [*one, *one] for version, one in around.tables.items()})
    assert check(twice).thetas == pytest.approx(result.thetas, abs=PPB // 1000)


def lying(around: World, at: int) -> World:
    """Another server tells of every class the reverse, and is the `at`-th."""
    tables = {}
    for version, servers in around.tables.items():
        lie = {label: [max(-x, -MOST) for x in row] for label, row in servers[0].items()}
        tables[version] = [*servers[:at], lie, *servers[at:]]
    return replace(around, tables=tables)


@settings(max_examples=15)
@given(SEEDS, st.integers(2, 3), st.integers(0, 2))
def test_a_liar_among_three_and_four_servers_is_left_out_of_the_pool_bit_for_bit(
    seed: int, servers: int, at: int
) -> None:
    around = drawn(seed, servers=servers)
    plain, lied = around.scored("decomposed"), check(lying(around, at))
    for name in RATIOS:
        assert lied.parts[name] == plain.parts[name]


def test_where_servers_see_alike_a_liar_among_them_changes_nothing_at_all() -> None:
    around = world(honest(0), honest(1, 10), honest(2, 11), [-x for x in honest(0)], FLIPPED)
    plain, lied = around.scored("decomposed"), check(lying(around, 1))
    assert (lied.thetas, lied.weights, lied.history) == (plain.thetas, plain.weights, plain.history)


def test_servers_that_sketch_otherwise_than_most_are_not_in_the_pool() -> None:
    around = drawn(11, servers=3)
    most, other = (b"a later block", 64), (b"a later block", 32)
    mixed = check(replace(around, sketches=[most, other, most]))
    two = {version: [one[0], one[2]] for version, one in around.tables.items()}
    alike = check(replace(around, tables=two, sketches=[most, most]))
    for name in RATIOS:
        assert mixed.parts[name] == alike.parts[name]


def test_wide_sketches_say_what_whole_vectors_do() -> None:
    """Of 12 coordinates in 4,096 buckets none meets another: every product is the same."""
    around = world(honest(0), honest(1, 10), honest(2, 11), FLIPPED)
    sketched = check(replace(around, sketches=[(b"seed", 4096)] * 3))
    plain = around.scored("decomposed")
    assert (sketched.thetas, sketched.history) == (plain.thetas, plain.history)


def test_servers_may_lack_classes_and_one_that_no_server_has_both_rows_of_does_not_count() -> None:
    around = drawn(5, servers=3)
    lacking = {
        version: [{label: row for label, row in table.items() if label[1] != at} for at, table in enumerate(servers)]
        for version, servers in around.tables.items()
    }
    assert check(replace(around, tables=lacking)).paid
    halves = {
        version: [{label: row for label, row in table.items() if label != (REST, 1)} for table in servers]
        for version, servers in around.tables.items()
    }
    without = {
        version: [{label: row for label, row in table.items() if label not in {(REST, 1), (1, 1)}} for table in servers]
        for version, servers in around.tables.items()
    }
    half, none = (check(replace(around, tables=tables)) for tables in (halves, without))
    for name in RATIOS:
        assert half.parts[name] == none.parts[name]
    bare = {version: [{(0, 0): table[0, 0]} for table in servers] for version, servers in around.tables.items()}
    assert check(replace(around, tables=bare)).parts["judged"] == (0,) * 6


def test_a_stale_but_useful_update_is_paid_in_full_and_moves_the_model_less() -> None:
    around = world(honest(0), honest(1, 10))
    table = around.tables[NUMBER - 1]
    stale = replace(around, bases=[NUMBER - 1, NUMBER - 4], tables={NUMBER - 1: table, NUMBER - 4: table})
    result = stale.scored("decomposed", staleness="polynomial")
    assert result.thetas == (PPB, PPB)
    assert result.weights == pytest.approx([STEP_TOTAL * 2 / 3, STEP_TOTAL / 3], abs=2)


def test_what_is_not_new_counts_as_no_more_than_nothing() -> None:
    record = vector(c0=300, c5=100)
    copied = [x + y for x, y in zip(record, vector(c8=30), strict=True)]
    around = replace(world(copied, vector(c0=310, c9=250)), records={NUMBER - 2: [record]})
    result = check(around)
    assert result.parts["new"][0] < 300_000_000
    assert result.parts["authenticity"][0] == 0
    assert result.thetas[1] > 0


def test_decomposed_loss_shapley_pays_by_the_loss_among_those_it_accepts() -> None:
    around = drawn(4)
    plain, paid = around.scored("decomposed"), around.scored("decomposed-loss-shapley")
    assert plain.paid
    assert paid.parts["usefulness"] == plain.thetas
    assert (paid.weights, paid.history) == (plain.weights, plain.history)
    assert max(paid.thetas) == PPB
    assert not any(theta for theta, useful in zip(paid.thetas, plain.thetas, strict=True) if not useful)


@given(st.integers(-PPB, PPB), st.integers(1, PPB), st.sampled_from(WORTHLESS))
def test_pay_rises_evenly_from_what_is_worth_nothing_to_the_typical(value: int, typical: int, worthless: int) -> None:
    share = Fraction(1000 * value - worthless * typical, (1000 - worthless) * typical)
    assert worth(value, typical, worthless) == min(max(PPB * share.numerator // share.denominator, 0), PPB)
    assert worth(value, 0, worthless) == worth(value, -typical, worthless) == PPB * (value > 0)


SHARES = st.tuples(st.integers(-PPB, PPB), st.integers(0, PPB))


@given(st.lists(st.tuples(SHARES, SHARES, SHARES, SHARES), min_size=1, max_size=20))
def test_a_record_is_a_mean_that_forgets_and_is_read_as_written(seen: list[tuple[tuple[int, int], ...]]) -> None:
    record, expected = Record(), np.zeros((4, 2))
    for count, shares in enumerate(seen, start=1):
        record = record.after([Share(*one) for one in shares])
        expected += (np.array(shares) - expected) / min(count, 8)
    assert record.judged == min(len(seen), 8)
    assert np.array(record.shares) == pytest.approx(expected, abs=9)
    assert Record.of(record.values) == record
    assert len(record.values) == 9
    assert Record.of(()) == Record() == Record(0, (NOTHING,) * 4)


def test_a_record_of_another_rule_is_refused() -> None:
    with pytest.raises(InvalidRound, match="remembered by 3 integers, not 9"):
        world(honest(0), history={1: (8, PPB, PPB)}).scored("decomposed")


def test_evidence_weighs_by_its_whole() -> None:
    """An update that tells little of honesty says little of its sender."""
    full, slight = Share(900, 1000), Share(0, 10)
    record = Record().after([full] * 4).after([slight] * 4)
    assert record.shares[0] == Share(450, 505)
    assert record.shares[0].ratio > 890_000_000
    assert Share(3, 0).ratio == Share(3, -1).ratio == 0


def test_a_newcomer_is_as_good_as_the_median_client() -> None:
    typical = Typical((PPB // 2, PPB // 4, PPB, 0), (1000, 100, 10, 0))
    assert Record().beside(typical) == (Share(500, 1000), Share(25, 100), Share(10, 10), Share(0, 0))
    known = Record(1, (Share(100, 1000),) * 4)
    assert known.beside(typical)[:2] == (Share(300, 1000), Share(62, 550))
    assert Record().stands(Typical((PPB // 2, PPB // 4, PPB, 1_000), (PPB,) * 4))
    assert not Record().stands(typical), "nothing is not above nothing"


@pytest.mark.parametrize("measure", range(4))
def test_a_client_stands_while_each_measure_is_above_its_share_of_the_median_clients(measure: int) -> None:
    typical = Typical((PPB,) * 4, (PPB,) * 4)
    # (1 + 8 own) / 9 = standing: the greatest mean that does not stand
    edge = (9 * STANDING[measure] * PPB // 1000 - PPB) // 8
    for own, stands in ((edge, False), (edge + 2, True)):
        shares = [Share(PPB, PPB)] * 4
        shares[measure] = Share(own, PPB)
        assert Record(8, tuple(shares)).stands(typical) is stands


def test_the_median_client_is_the_lower_median_of_ratios_and_of_wholes() -> None:
    assert typical_client({}) == Typical((0,) * 4, (0,) * 4)
    history = {
        1: (0, *[5] * 8),
        2: (1, 10, 100, *[1, 1] * 3),
        3: (4, 60, 200, *[1, 2] * 3),
        4: (8, 20, 50, *[1, 4] * 3),
        5: (2, 500, 1000, *[0, 8] * 3),
    }
    assert typical_client(history) == Typical((PPB * 3 // 10, *[PPB // 4] * 3), (100, 2, 2, 2))


@settings(max_examples=40)
@given(st.data())
def test_whatever_comes_there_is_an_answer_and_it_is_the_oracles(data: st.DataObject) -> None:
    """Hostile rows, updates and servers: zeros, extremes, copies and opposites of each other, up to 64 servers."""
    columns = data.draw(st.integers(1, 4))
    rows = st.lists(EXTREMES, min_size=columns, max_size=columns)
    count = data.draw(st.sampled_from((1, 2, 3, 4, 5, 64)))
    labels = [(0, 0), (REST, 0), (1, 1), (REST, 1), (1, 0)]
    pool = data.draw(st.lists(rows, min_size=1, max_size=5))
    tables = []
    for _ in range(count):
        signs = data.draw(st.lists(st.sampled_from((1, 1, -1, 0)), min_size=5, max_size=5))
        which = data.draw(st.integers(0, 4))
        tables.append(
            {
                label: [min(sign * x, MOST) for x in pool[(which + at) % len(pool)]]
                for at, (label, sign) in enumerate(zip(labels, signs, strict=True))
            }
        )
    updates = data.draw(st.lists(rows, min_size=1, max_size=4))
    size = len(updates)
    numbers = st.one_of(st.sampled_from((0, 1, PPB, -PPB)), st.integers(-PPB, PPB))
    history = {
        client: (data.draw(st.integers(0, 8)), *data.draw(st.lists(numbers, min_size=8, max_size=8)))
        for client in data.draw(st.sets(st.integers(1, 6), max_size=4))
    }
    around = World(
        updates=updates,
        bases=[NUMBER - 1] * size,
        clients=data.draw(st.lists(st.integers(1, 4), min_size=size, max_size=size)),
        tables={NUMBER - 1: tables},
        records={NUMBER - 1: pool},
        history=history,
        sketches=data.draw(st.lists(st.sampled_from((None, (b"", 1), (b"x", 2))), max_size=2)),
        slopes=data.draw(
            st.lists(st.sampled_from((None, {(0, 0): Slope(-256, 0)}, {(1, 1): Slope(256, 0)})), max_size=4)
        ),
    )
    result = check(around)
    assert all(0 <= theta <= PPB for theta in result.thetas)
    assert all(weight >= 0 for weight in result.weights)
    assert sum(result.weights) <= STEP_TOTAL
    again = around.scored("decomposed")
    assert (again.thetas, again.weights, again.history, again.parts) == (
        result.thetas,
        result.weights,
        result.history,
        result.parts,
    )
    paid = around.scored("decomposed-loss-shapley")
    assert all(0 <= theta <= PPB for theta in paid.thetas)
    assert (paid.history, paid.weights if paid.paid == result.paid else ()) == (
        result.history,
        result.weights if paid.paid == result.paid else (),
    )


def test_rows_of_a_server_are_told_apart_by_version() -> None:
    """Two versions with other tables: each update beside its own."""
    around = drawn(7)
    swapped = replace(around, tables={version: around.tables[2 * NUMBER - 4 - version] for version in around.tables})
    assert check(swapped).parts["explained"] != check(around).parts["explained"]
