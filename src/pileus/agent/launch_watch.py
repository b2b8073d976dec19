"""Notices a guest that hangs before its kernel: one GRUB boot in nineteen did (see the boot measurements in the docs)."""

from pileus.base.clock import Clock
from pileus.drivers.hypervisor.interface import Hypervisor


class LaunchWatch:
    """Watches one guest's serial console after each launch: a guest that says nothing at all for ``limit`` seconds hangs.

    A boot is watched once, so that an image which never speaks costs one restart and no more. ``limit`` None: never.
    """

    def __init__(self, instance_id: str, hypervisor: Hypervisor, clock: Clock, limit: float | None) -> None:
        self._instance_id = instance_id
        self._hypervisor = hypervisor
        self._clock = clock
        self._limit = limit
        self._boot: int | None = None
        self._deadline: float | None = None
        self._before = b""

    async def begin(self, boot: int) -> None:
        """The guest is about to be launched at ``boot``. Raises DriverError."""
        self._deadline = None
        if self._limit is None or boot == self._boot:
            return
        self._before = await self._hypervisor.console_output(self._instance_id)
        self._boot = boot
        self._deadline = self._clock.monotonic() + self._limit

    @property
    def remaining(self) -> float | None:
        """Seconds until the guest must have spoken; None when it is not watched."""
        return None if self._deadline is None else max(0.0, self._deadline - self._clock.monotonic())

    async def hangs(self) -> bool:
        """Ends the watch if its time is over, and tells whether the guest kept silent. Raises DriverError."""
        if self.remaining is None or self.remaining > 0:
            return False
        spoke = await self._hypervisor.console_output(self._instance_id) != self._before
        self._deadline = None
        return not spoke

    def end(self) -> None:
        """The guest is off: nothing to watch."""
        self._deadline = None
