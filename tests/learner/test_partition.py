"""Every sample has exactly one owner, and everybody owns something."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learner.data.partition import concentrate, dirichlet, iid, label_shards, quantity_skew
from learner.errors import InvalidPartition
from merit.chance import seed_of

LABELS = np.random.default_rng(seed_of(1, "labels")).integers(0, 10, 1_000)
WAYS: dict[str, Callable[[int, int], list[np.ndarray]]] = {
    "iid": lambda clients, seed: iid(LABELS, clients=clients, seed=seed),
    "label shards": lambda clients, seed: label_shards(LABELS, clients=clients, shards=2, seed=seed),
    "quantity skew": lambda clients, seed: quantity_skew(LABELS, clients=clients, beta=0.3, seed=seed),
    "dirichlet": lambda clients, seed: dirichlet(LABELS, clients=clients, alpha=0.5, seed=seed),
}


@pytest.mark.parametrize("way", WAYS)
@given(clients=st.integers(1, 30), seed=st.integers(0, 2**32))
def test_each_sample_is_used_exactly_once_and_no_client_is_empty(way: str, clients: int, seed: int) -> None:
    parts = WAYS[way](clients, seed)
    assert len(parts) == clients
    assert all(len(part) and part.dtype == np.int64 for part in parts)
    assert np.sort(np.concatenate(parts)).tolist() == list(range(len(LABELS)))


@pytest.mark.parametrize("way", WAYS)
def test_the_seed_decides_the_partition(way: str) -> None:
    first, again, other = WAYS[way](10, 1), WAYS[way](10, 1), WAYS[way](10, 2)
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert any(len(a) != len(b) or (a != b).any() for a, b in zip(first, other, strict=True))


def test_iid_parts_differ_by_one_sample_at_most() -> None:
    sizes = [len(part) for part in WAYS["iid"](7, 3)]
    assert max(sizes) - min(sizes) <= 1


def test_two_shards_show_a_client_few_labels() -> None:
    distinct = [len(np.unique(LABELS[part])) for part in WAYS["label shards"](20, 3)]
    assert max(distinct) <= 4
    assert sum(distinct) / len(distinct) < 3.5


def test_a_small_alpha_is_less_even_than_a_large_one() -> None:
    def spread(alpha: float) -> float:
        parts = dirichlet(LABELS, clients=10, alpha=alpha, seed=5)
        return float(np.std([np.bincount(LABELS[part], minlength=10) for part in parts]))

    assert spread(0.3) > 2 * spread(100.0)


def test_a_single_sample_each_is_enough() -> None:
    assert [part.tolist() for part in label_shards(np.arange(4) % 2, clients=2, shards=2, seed=0)]
    assert all(len(part) == 1 for part in iid(LABELS[:5], clients=5, seed=0))


@pytest.mark.parametrize(
    ("deal", "reason"),
    [
        (lambda: iid(LABELS[:3], clients=4, seed=0), "3 samples cannot fill 4 clients: choose 1 to 3"),
        (lambda: iid(LABELS, clients=0, seed=0), "cannot fill 0 clients"),
        (lambda: label_shards(LABELS[:3], clients=2, shards=2, seed=0), "3 samples cannot fill 4 shards"),
        (lambda: label_shards(LABELS, clients=2, shards=0, seed=0), "choose at least 1"),
        (lambda: dirichlet(LABELS, clients=2, alpha=0, seed=0), "alpha = 0: choose more than 0"),
        (lambda: dirichlet(LABELS, clients=2, alpha=float("nan"), seed=0), "alpha = nan"),
        (lambda: dirichlet(LABELS[:30], clients=30, alpha=0.001, seed=0), "some of 30 clients stay empty"),
        (lambda: dirichlet(LABELS, clients=20, alpha=1e-200, seed=0), "stay empty"),
    ],
)
def test_what_cannot_be_dealt_is_refused_with_a_reason(deal: Callable[[], object], reason: str) -> None:
    with pytest.raises(InvalidPartition, match=reason):
        deal()


def test_small_beta_means_very_uneven_sizes_of_all_labels() -> None:
    even, uneven = (
        sorted(len(part) for part in quantity_skew(LABELS, clients=10, beta=beta, seed=3)) for beta in (100.0, 0.2)
    )
    assert even[-1] < 2 * even[0]
    assert uneven[-1] > 20 * uneven[0]
    largest = max(quantity_skew(LABELS, clients=10, beta=0.2, seed=3), key=len)
    assert len(np.unique(LABELS[largest])) == 10


def test_a_rare_label_is_with_its_holders_alone() -> None:
    parts = iid(LABELS, clients=8, seed=1)
    moved = concentrate(parts, LABELS, label=4, holders=[2, 5], seed=1)
    assert [bool((LABELS[part] == 4).any()) for part in moved] == [client in {2, 5} for client in range(8)]
    assert np.sort(np.concatenate(moved)).tolist() == list(range(len(LABELS)))
    sizes = [int((LABELS[moved[client]] == 4).sum()) for client in (2, 5)]
    assert max(sizes) - min(sizes) <= 1


def test_who_had_the_rare_label_only_gets_half_of_what_a_holder_had() -> None:
    labels = np.array([0, 0, 1, 1, 1, 1])
    moved = concentrate([np.array([0, 1]), np.array([2, 3, 4, 5])], labels, label=0, holders=[1], seed=1)
    assert [part.tolist() for part in moved] == [[2, 3], [0, 1, 4, 5]]


def test_a_label_cannot_be_rare_where_nobody_has_another_to_give() -> None:
    labels = np.array([0, 0, 0, 1])
    with pytest.raises(InvalidPartition, match="client 0 has only label 0: make another label rare"):
        concentrate([np.array([0, 1]), np.array([2, 3])], labels, label=0, holders=[1], seed=1)
    with pytest.raises(InvalidPartition, match="holders of label 7"):
        concentrate([np.array([0, 1]), np.array([2, 3])], labels, label=7, holders=[1], seed=1)


def test_a_beta_that_means_nothing_is_refused() -> None:
    with pytest.raises(InvalidPartition, match="beta = 0"):
        quantity_skew(LABELS, clients=3, beta=0.0, seed=1)
