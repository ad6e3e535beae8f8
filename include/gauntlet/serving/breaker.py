"""A challenger's breaker in one worker: repeated errors in a short time take it out of traffic at once."""

from __future__ import annotations

from collections import deque


class Breaker:
    """Counts a challenger's errors in a sliding window of time.

    >>> breaker = Breaker(errors=2, window_s=10)
    >>> breaker.error(1.0), breaker.error(2.0)
    (False, True)
    """

    __slots__ = ("_times", "_window")

    def __init__(self, errors: int, window_s: float) -> None:
        """Trips at ``errors`` within ``window_s`` seconds."""
        self._times: deque[float] = deque(maxlen=errors)
        self._window = window_s

    def error(self, now: float) -> bool:
        """Count one error at a monotonic time; whether the breaker trips."""
        times = self._times
        times.append(now)
        return len(times) == times.maxlen and now - times[0] <= self._window

    def reset(self) -> None:
        """Forget, for another challenger."""
        self._times.clear()
