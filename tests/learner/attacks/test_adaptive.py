"""Attackers who know the rule use what they know, and lying edge servers tell what their lie says."""

import msgspec
import numpy as np
import pytest

from learner.attacks import (
    AnyLie,
    GatePassing,
    Insider,
    Lie,
    Negated,
    OnOff,
    Planted,
    PublishedReferences,
    Scaled,
    SignFlip,
    TargetClass,
)
from learner.attacks.lying import lesson
from learner.contribution import ROOT
from learner.fixedpoint import Reals
from learner.references import References
from learner.sketch import Sketch
from tests.learner.attacks.test_attacks import DATA, MEAN, OWN, SIZE, USUAL, cosine, norm, view

LABELS = ((0, 0), (0, 1), (1, 1), ROOT)
LIES = [Negated(), Scaled(), TargetClass(), Planted()]


def references(seed: int) -> References:
    drawn = np.random.default_rng(seed).integers(-3_000, 3_000, (len(LABELS), SIZE))
    return References(LABELS, drawn.astype(np.int16))


def chance() -> np.random.Generator:
    return np.random.default_rng(11)


def taught(told: References) -> Reals:
    found = lesson(told)
    assert found is not None
    return found


def unit(vector: Reals) -> Reals:
    return vector / np.linalg.norm(vector)


def test_the_lesson_of_references_is_what_their_right_labels_teach() -> None:
    told = references(1)
    rows = told.vectors.astype(np.float64)
    assert lesson(told) == pytest.approx(unit(rows[0]) + unit(rows[2]))
    assert lesson(References((ROOT,), told.vectors[3:])) == pytest.approx(unit(rows[3]))
    assert lesson(References((ROOT,), np.zeros((1, SIZE), dtype=np.int16))) is None
    assert lesson(References(((0, 1),), told.vectors[:1])) is None


def test_open_references_are_sent_as_an_update_of_the_usual_length() -> None:
    opened = {4: [references(1), references(2)], 5: [references(3)]}
    both = taught(references(1)) + taught(references(2))
    attack = PublishedReferences(age=2, noise=0.0)
    assert attack.base(6, 0) == 4
    sent = attack.update(view(base=4, opened=opened))
    assert cosine(sent, both) == pytest.approx(1)
    assert norm(sent) == pytest.approx(USUAL)


def test_what_is_not_open_yet_is_made_up_for_by_the_newest_that_is() -> None:
    newest = references(3)
    sent = PublishedReferences(noise=0.0).update(view(base=6, opened={4: [references(1)], 5: [newest]}))
    assert cosine(sent, taught(newest)) == pytest.approx(1)


def test_an_insider_sends_the_sealed_references_of_its_own_server() -> None:
    servers = [references(1), references(2)]
    sent = Insider(server=1, noise=0.0).update(view(sealed=servers.__getitem__))
    assert cosine(sent, taught(servers[1])) == pytest.approx(1)


def test_gate_passing_goes_as_far_as_pays_what_it_wants() -> None:
    def foreseen(update: Reals) -> int:  # falls with the distance to the honest update
        return max(0, round(10**6 * (1 - norm(update - OWN) / norm(OWN) / 2)))

    sent = GatePassing(keep=0.5, steps=12).update(view(foreseen=foreseen))
    assert norm(sent - OWN) / norm(OWN) == pytest.approx(1, abs=2e-3)
    assert cosine(sent - OWN, -MEAN) == pytest.approx(1)
    assert foreseen(sent) >= foreseen(OWN) / 2


def test_gate_passing_does_its_worst_where_all_is_paid_and_behaves_where_nothing_is() -> None:
    sent = GatePassing(most=3.0).update(view(foreseen=lambda _: 1))
    assert norm(sent - OWN) == pytest.approx(3 * norm(OWN))
    assert (GatePassing().update(view()) == OWN).all()


def test_attacks_that_read_references_say_so() -> None:
    assert PublishedReferences().reads_references
    assert OnOff(inner=GatePassing()).reads_references
    assert not OnOff(inner=SignFlip()).reads_references


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: type(lie).__name__)
@pytest.mark.parametrize("sketch", [None, Sketch(b"seed", 64)])
def test_a_lie_has_the_shape_of_the_truth(lie: Lie, sketch: Sketch | None) -> None:
    truth = references(1) if sketch is None else references(1).sketched(sketch)
    told = lie.told(truth, chance())
    assert (told.labels, told.vectors.dtype, told.sketch) == (truth.labels, truth.vectors.dtype, truth.sketch)
    assert (told.vectors == lie.told(truth, chance()).vectors).all()


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: type(lie).__name__)
def test_a_file_can_name_every_lie(lie: Lie) -> None:
    assert msgspec.convert(msgspec.to_builtins(lie), AnyLie) == lie


def test_lies_negate_stretch_relabel_and_plant() -> None:
    truth = references(1)
    assert (Negated().told(truth, chance()).vectors == -truth.vectors).all()
    stretched = Scaled(factor=16.0).told(truth, chance()).vectors
    assert stretched.max() == 32_767  # a coordinate stays at its end
    assert (np.sign(stretched) == np.sign(truth.vectors)).all()
    assert set(TargetClass(target=3).root(DATA).labels) == {3}
    planted = Planted().told(truth, chance()).vectors.astype(np.float64)
    assert cosine(planted[0], planted[2]) == pytest.approx(1, abs=1e-3)
    assert cosine(planted[0], planted[3]) == pytest.approx(1, abs=1e-3)
    assert (planted[1] == truth.vectors[1]).all()  # what wrong labels teach is told as it is


def test_the_least_integer_is_negated_to_the_greatest() -> None:
    lowest = References((ROOT,), np.full((1, SIZE), -32_768, dtype=np.int16))
    assert (Negated().told(lowest, chance()).vectors == 32_767).all()
