"""What stands in for a device that records: the recorded work is kept and done again, on the same tensors."""

from __future__ import annotations

from collections.abc import Callable

from redistill.replay import Lanes


class Again:
    """Counts what was recorded and how often that was replayed."""

    def __init__(self) -> None:
        self.lanes = Lanes()
        self.recorded = self.replayed = 0

    def rehearse(self, work: Callable[[], None]) -> str | None:
        work()
        return None

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        self.recorded += 1

        def replay() -> None:
            self.replayed += 1
            work()

        return replay

    def simpler(self) -> bool:
        return False
