"""Virtual time: who is how fast, and who is there when."""

from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learner.simulation.scenario import DeviceClass, DeviceClasses, LogNormal, Mobility
from learner.simulation.timing import MICROSECONDS, Connections, Stopwatch


def test_log_normal_speeds_have_the_median_asked_for_and_differ_more_between_clients_than_within() -> None:
    watch = Stopwatch(LogNormal(seconds=2.0, clients=1.0, updates=0.1), {}, seed=1)
    first = [watch.duration_us(client, 0, 10, 1) for client in range(400)]
    assert median(first) == pytest.approx(2 * MICROSECONDS, rel=0.2)
    own = [watch.duration_us(7, number, 10, 1) for number in range(50)]
    assert max(own) < 2 * min(own)
    assert max(first) > 10 * min(first)


def test_a_device_takes_its_time_per_sample_and_epoch_and_its_transfer() -> None:
    device = DeviceClass(weight=1.0, milliseconds_per_sample=3.0, transfer_seconds=0.5)
    watch = Stopwatch(DeviceClasses(classes=(device,), updates=0.0), {}, seed=1)
    assert watch.duration_us(0, 0, samples=100, epochs=2) == 1_100_000


def test_device_classes_occur_by_their_weights() -> None:
    fast, slow = (DeviceClass(weight=w, milliseconds_per_sample=ms) for w, ms in ((0.75, 1.0), (0.25, 10.0)))
    watch = Stopwatch(DeviceClasses(classes=(fast, slow), updates=0.0), {}, seed=1)
    slower = sum(watch.duration_us(client, 0, 100, 1) > 500_000 for client in range(400))
    assert 70 < slower < 130


def test_a_slow_client_takes_its_factor_longer_and_nobody_else_does() -> None:
    plain, slowed = (Stopwatch(LogNormal(), factors, seed=5) for factors in ({}, {3: 4.0}))
    assert slowed.duration_us(3, 2, 10, 1) == pytest.approx(4 * plain.duration_us(3, 2, 10, 1), abs=4)
    assert slowed.duration_us(4, 2, 10, 1) == plain.duration_us(4, 2, 10, 1)


def test_without_mobility_everybody_is_there() -> None:
    assert Connections(None, 1).from_us(3, 17) == 17


@given(client=st.integers(0, 3), moments=st.lists(st.integers(0, 10**9), min_size=1, max_size=20))
def test_whoever_asks_in_whatever_order_the_next_connection_is_the_same(client: int, moments: list[int]) -> None:
    mobility = Mobility(connected_seconds=20.0, away_seconds=20.0)
    asked, alone = Connections(mobility, 1), [Connections(mobility, 1).from_us(client, at) for at in moments]
    found = [asked.from_us(client, at) for at in moments]
    assert found == alone
    assert all(next_us >= at for next_us, at in zip(found, moments, strict=True))
    assert [asked.from_us(client, at) for at in found] == found  # then it is connected


def test_clients_are_away_for_their_share_of_the_time() -> None:
    connections = Connections(Mobility(connected_seconds=30.0, away_seconds=10.0), seed=2)
    moments = range(0, 4_000 * MICROSECONDS, MICROSECONDS)
    away = sum(connections.from_us(client, at) != at for client in range(5) for at in moments) / (5 * len(moments))
    assert away == pytest.approx(0.25, abs=0.05)
