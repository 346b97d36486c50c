"""Virtual time: it jumps where everybody waits, and says so where nobody will ever go on."""

import asyncio

import pytest

from merit.virtual import StandstillError, VirtualClock, run_virtually

EPOCH = 1_000_000


def test_a_year_passes_while_nobody_works_and_tasks_wake_in_order() -> None:
    async def main(clock: VirtualClock) -> list[tuple[str, float]]:
        woken = []

        async def nap(name: str, seconds: float) -> None:
            await clock.sleep(seconds)
            woken.append((name, clock.monotonic()))

        await asyncio.gather(nap("year", 365 * 86_400.0), nap("second", 1.0), nap("hour", 3_600.0), nap("now", -5.0))
        return woken

    assert run_virtually(main, epoch=EPOCH) == [("now", 0), ("second", 1), ("hour", 3_600), ("year", 365 * 86_400)]


def test_now_counts_from_the_epoch_and_waiting_passes_for_everybody() -> None:
    async def main(clock: VirtualClock) -> tuple[float, int, float]:
        sleeper = asyncio.create_task(clock.sleep(2.0))
        await clock.sleep(0)
        clock.wait(5.0)
        await sleeper
        return clock.now(), clock.now_ns(), clock.monotonic()

    assert run_virtually(main, epoch=EPOCH) == (EPOCH + 5.0, (EPOCH + 5) * 10**9, 5.0)


def test_a_timeout_is_virtual_too() -> None:
    async def main(clock: VirtualClock) -> float:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(clock.sleep(1e6), 1e5)
        return clock.monotonic()

    assert run_virtually(main, epoch=EPOCH) == 1e5


def test_waiting_for_what_never_comes_is_an_error_and_no_hang() -> None:
    async def main(_: VirtualClock) -> None:
        await asyncio.Event().wait()

    with pytest.raises(StandstillError, match="nothing is due"):
        run_virtually(main, epoch=EPOCH)
