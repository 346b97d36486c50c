"""The heights that a subscriber sees, whichever engine decides them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from chain.light import Height

if TYPE_CHECKING:
    from collections.abc import Callable


class Source(Protocol):
    """What moves the heights on."""

    @property
    def failure(self) -> Exception | None:
        """What has stopped it, unless it was told to stop."""
        ...

    @property
    def ended(self) -> bool:
        """Whether it was told to stop."""
        ...

    async def news(self) -> None:
        """Wait until a height may be durable, or the source ends."""
        ...


class Heights:
    """Heights in order, each once, as they become durable; it holds no queue, so a slow reader costs nothing."""

    def __init__(self, engine: Source, height: Callable[[], Height], after: Height | None) -> None:
        """Begin after `after`, or after what `height()` says now."""
        self._engine, self._height = engine, height
        self._last = height() if after is None else after

    def __aiter__(self) -> Heights:
        """Return itself."""
        return self

    async def __anext__(self) -> Height:
        """Wait for the next height; ends with the engine, and raises what stopped it if that was a failure."""
        while self._height() <= self._last:
            if self._engine.failure is not None:
                raise self._engine.failure
            if self._engine.ended:
                raise StopAsyncIteration
            await self._engine.news()
        self._last = Height(self._last + 1)
        return self._last
