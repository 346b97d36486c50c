"""Each attack does what its name says, measured on vectors; and what it draws, it draws from its own stream."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, get_args

import msgspec
import numpy as np
import pytest

from learner.attacks import (
    AnyAttack,
    Attack,
    BackDoor,
    Blend,
    ClassFlip,
    Conspiracy,
    Copy,
    DeltaReplay,
    FewSamples,
    Gaussian,
    InnerProduct,
    LabelFlip,
    LittleIsEnough,
    Noise,
    NormInflation,
    OneClass,
    OnOff,
    Published,
    SignFlip,
    Split,
    StaleModel,
    Sybils,
    View,
    Zero,
)
from learner.data import Dataset
from learner.fixedpoint import Reals
from learner.naming import word

SIZE = 400
BITS = 10
ATTACKS = [kind() for kind in get_args(AnyAttack)]
CONSPIRACY = (5, 6, 7, 8, 9)


def drawn(*seed: int) -> Reals:
    return np.random.default_rng(seed).standard_normal(SIZE)


MODELS = {version: np.cumsum([drawn(1, v) for v in range(version + 1)], axis=0)[-1] for version in range(7)}
DATA = Dataset(
    np.random.default_rng(2).random((60, 16), dtype=np.float32), np.repeat(np.arange(2, 8), 10).astype(np.int64), 10
)
PEERS = [
    Published(client, 5, np.rint(2.0**BITS * (drawn(3, client) + 1)).astype(np.int16), BITS) for client in range(4)
]
OWN = drawn(4)
"""What honest training gives, whatever the data; what an attack trained on is kept in `Trained.on`."""


@dataclass
class Trained:
    """A stand-in for training that remembers the data."""

    on: list[Dataset] = field(default_factory=list)

    def __call__(self, data: Dataset) -> Reals:
        self.on.append(data)
        return OWN.copy()


def view(trained: Callable[[Dataset], Reals] | None = None, **changed: Any) -> View:
    whole = View(
        client=5,
        sent=0,
        base=6,
        newest=6,
        oldest=0,
        data=DATA,
        model=MODELS.__getitem__,
        published=PEERS,
        train=trained or Trained(),
        conspiracy=Conspiracy(CONSPIRACY, {}, {}),
        chance=np.random.default_rng(7),
        opened={},
        sealed=lambda _: None,
        foreseen=lambda _: 0,
    )
    return replace(whole, **changed)


def cosine(one: Reals, other: Reals) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def norm(vector: Reals) -> float:
    return float(np.linalg.norm(vector))


MEAN = np.mean([one.delta for one in PEERS], axis=0)
USUAL = float(np.median([norm(one.delta) for one in PEERS]))


@pytest.mark.parametrize("attack", ATTACKS, ids=word)
def test_every_attack_makes_an_update_that_depends_on_its_stream_alone(attack: Attack) -> None:
    first, again = attack.update(view()), attack.update(view())
    assert first.shape == (SIZE,)
    assert first.dtype == np.float64
    assert (first == again).all()


@pytest.mark.parametrize("attack", ATTACKS, ids=word)
def test_every_attack_can_be_the_first_to_send_anything(attack: Attack) -> None:
    sent = attack.update(view(published=[], base=0, newest=0, model={0: MODELS[0]}.__getitem__))
    assert np.isfinite(sent).all()


@pytest.mark.parametrize("attack", ATTACKS, ids=word)
def test_a_file_can_name_every_attack(attack: Attack) -> None:
    assert msgspec.convert({"name": word(attack)}, AnyAttack) == attack  # type: ignore[arg-type]  # a union of types


def test_a_name_tells_parameters_that_differ_from_the_defaults() -> None:
    assert word(Copy()) == "copy"
    assert word(Copy(noise=0.1)) == "copy-noise-0.1"
    assert word(OnOff(inner=SignFlip(scale=2.0))) == "on-off-inner-sign-flip-scale-2"


def test_a_sign_flip_points_the_other_way_and_inflation_further() -> None:
    assert (SignFlip(scale=2.0).update(view()) == -2 * OWN).all()
    assert (NormInflation(factor=10.0).update(view()) == 10 * OWN).all()


def test_gaussian_noise_has_the_norm_asked_for_and_points_nowhere() -> None:
    trained = Trained()
    sent = Gaussian(scale=3.0).update(view(trained))
    assert norm(sent) == pytest.approx(3 * USUAL)
    assert abs(cosine(sent, MEAN)) < 0.2
    assert not trained.on


def test_inner_product_manipulation_turns_the_peers_mean_round() -> None:
    assert InnerProduct(epsilon=0.5).update(view()) == pytest.approx(-0.5 * MEAN)


def test_little_is_enough_hides_in_the_deviation_of_its_accomplices() -> None:
    honest = {client: drawn(5, client) for client in (6, 7, 8)}
    sent = LittleIsEnough(z=1.5).update(view(conspiracy=Conspiracy(CONSPIRACY, dict(honest), {})))
    stacked = np.stack([*honest.values(), OWN])
    assert sent == pytest.approx(stacked.mean(axis=0) - 1.5 * stacked.std(axis=0))
    assert (LittleIsEnough().update(view()) == OWN).all()  # alone there is no deviation to hide in


def test_a_blend_keeps_half_of_an_honest_update_and_takes_the_peers_direction_away() -> None:
    sent = Blend(strength=1.0).update(view())
    assert sent == pytest.approx(OWN - norm(OWN) * MEAN / norm(MEAN))
    assert cosine(sent, OWN) > 0.6
    assert cosine(sent, MEAN) < -0.6


@pytest.mark.parametrize(("share", "least", "most"), [(1.0, 60, 60), (0.5, 18, 42)])
def test_a_label_flip_mirrors_the_labels_of_a_share_of_the_samples(share: float, least: int, most: int) -> None:
    trained = Trained()
    LabelFlip(share=share).update(view(trained))
    LabelFlip(share=share).update(view(trained, sent=1))
    first, second = trained.on
    flipped = first.labels == 9 - DATA.labels
    assert least <= flipped.sum() <= most
    assert ((first.labels == DATA.labels) | flipped).all()
    assert (first.labels == second.labels).all()  # the data were poisoned once
    assert (first.images == DATA.images).all()


def test_a_class_flip_moves_one_class_and_no_other() -> None:
    trained = Trained()
    ClassFlip().update(view(trained))
    assert (trained.on[0].labels == np.where(DATA.labels == 2, 3, DATA.labels)).all()


def test_one_class_is_what_every_sample_is_called() -> None:
    trained = Trained()
    OneClass(target=1).update(view(trained))
    assert (trained.on[0].labels == 1).all()
    assert (trained.on[0].images == DATA.images).all()


def test_a_back_door_stamps_its_trigger_on_a_share_and_labels_it() -> None:
    attack, trained = BackDoor(target=1, side=2, share=0.5, boost=3.0), Trained()
    assert (attack.update(view(trained)) == 3 * OWN).all()
    corner = [10, 11, 14, 15]  # of 4 x 4 pixels
    stamped = (trained.on[0].images[:, corner] == 1).all(axis=1)
    assert 18 <= stamped.sum() <= 42
    assert ((trained.on[0].labels == 1) == stamped).all()
    shown = attack.trigger(DATA)
    assert shown is not None
    assert (shown.images[:, corner] == 1).all()
    assert (shown.labels == 1).all()
    assert len(shown) == len(DATA)  # no sample is of class 1 itself
    assert SignFlip().trigger(DATA) is None


def test_few_samples_are_few_and_real() -> None:
    trained = Trained()
    FewSamples(samples=7).update(view(trained))
    assert len(trained.on[0]) == 7
    assert all((DATA.images == image).all(axis=1).any() for image in trained.on[0].images)


def test_zero_is_next_to_nothing_and_never_twice_the_same() -> None:
    sent = Zero(noise=1e-3).update(view())
    assert norm(sent) == pytest.approx(1e-3 * USUAL)
    assert (sent != Zero().update(view(chance=np.random.default_rng(8)))).any()


def test_noise_fades_with_the_versions_from_the_size_of_the_first_step() -> None:
    attack = Noise(scale=2.0, fading=0.5)
    early, late = attack.update(view(base=0)), attack.update(view(base=6))
    assert np.std(early) == pytest.approx(2 * np.std(MODELS[1] - MODELS[0]), rel=0.15)
    assert norm(late) == pytest.approx(norm(early) / 7**0.5)


def test_a_delta_replay_repeats_the_last_step_at_the_usual_length() -> None:
    sent = DeltaReplay(noise=0.1).update(view())
    assert cosine(sent, MODELS[6] - MODELS[5]) > 0.98
    assert norm(sent) == pytest.approx(USUAL, rel=0.1)


def test_a_stale_model_claims_an_old_base_and_presents_todays_model() -> None:
    attack = StaleModel(age=2, noise=0.01)
    assert attack.base(6, 0) == 4
    assert attack.base(1, 0) == 0
    assert attack.base(6, 5) == 5
    assert cosine(attack.update(view(base=4)), MODELS[6] - MODELS[4]) > 0.99


def test_a_copy_is_anothers_update_scaled_or_disguised() -> None:
    originals = [one.delta for one in PEERS]
    exact = Copy().update(view())
    assert any((exact == one).all() for one in originals)
    assert any(Copy(scale=0.5).update(view()) == pytest.approx(0.5 * one) for one in originals)
    noised = Copy(noise=0.5).update(view())
    assert max(cosine(noised, one) for one in originals) == pytest.approx(1 / 1.25**0.5, abs=0.05)


def test_attackers_copy_and_push_against_others_only() -> None:
    accomplice = Published(6, 5, np.full(SIZE, 9, dtype=np.int16), BITS)
    among = view(published=[*PEERS, accomplice])
    assert [one.client for one in among.peers(10)] == [0, 1, 2, 3]
    assert among.peers(2) == PEERS[2:]
    assert among.usual_norm() == USUAL


def test_sybils_push_one_way_and_send_no_copies() -> None:
    conspiracy = Conspiracy(CONSPIRACY, {}, {})
    own = {client: drawn(9, client) for client in CONSPIRACY}

    def send(client: int, turn: int) -> Reals:
        chance = np.random.default_rng([client, turn])
        seen = view(lambda _: own[client], client=client, conspiracy=conspiracy, chance=chance)
        return Sybils(inner=SignFlip(), noise=0.05).update(seen)

    for client in CONSPIRACY:
        send(client, 0)
    sent = [send(client, 1) for client in CONSPIRACY]
    common = -np.mean(list(own.values()), axis=0)
    assert min(cosine(one, common) for one in sent) > 0.99
    assert (sent[0] != sent[1]).any()


def test_a_split_client_trains_once_for_all_of_its_identities() -> None:
    conspiracy, trained = Conspiracy(CONSPIRACY, {}, {}), Trained()
    attack = Split(identities=3, noise=0.1)
    sent = {
        client: attack.update(view(trained, client=client, conspiracy=conspiracy, chance=np.random.default_rng(client)))
        for client in CONSPIRACY
    }
    assert len(trained.on) == 2  # 5, 6, 7 are one client, 8 and 9 another
    assert all(cosine(one, OWN) > 0.98 for one in sent.values())
    assert (sent[5] != sent[6]).any()
    attack.update(view(trained, base=5, oldest=5, conspiracy=conspiracy))
    assert len(trained.on) == 3
    assert set(conspiracy.notes) == {(2, 0, 6), (2, 0, 5), (2, 1, 6)}
    attack.update(view(trained, oldest=6, conspiracy=conspiracy))
    assert (2, 0, 5) not in conspiracy.notes  # what no update can start from any more is forgotten


def test_on_off_is_honest_first_and_harms_then_and_again() -> None:
    attack = OnOff(inner=SignFlip(), honest=2, harmful=1)
    honest = [bool((attack.update(view(sent=sent)) == OWN).all()) for sent in range(6)]
    assert honest == [True, True, False, True, True, False]
