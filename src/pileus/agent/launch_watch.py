"""Notices a guest that hangs at launch: one GRUB boot in nineteen did (see the boot measurements in the docs), and some
kernels stop after their first lines.
"""

from collections.abc import Awaitable, Callable, Sequence

from pileus.base.clock import Clock
from pileus.drivers.errors import DriverError
from pileus.drivers.hypervisor.interface import Hypervisor


class LaunchWatch:
    """Watches one guest after each launch. It hangs when ``limit`` seconds later

    - it has said nothing at all on its serial console, or
    - it has interfaces, sent not a single packet, and prints nothing any more (for half of that time).

    A boot is watched once, so that an image which never speaks costs one restart and no more. ``limit`` None: never.
    ``heard`` is how many packets came from an interface, see ``Network.heard``.
    """

    def __init__(
        self,
        instance_id: str,
        hypervisor: Hypervisor,
        heard: Callable[[str], Awaitable[int]],
        clock: Clock,
        limit: float | None,
    ) -> None:
        self._instance_id = instance_id
        self._hypervisor = hypervisor
        self._heard = heard
        self._clock = clock
        self._limit = limit
        self._boot: int | None = None
        self._deadline: float | None = None
        self._before = b""
        self._text: bytes | None = None
        self._packets: dict[str, int] = {}

    async def begin(self, boot: int, interfaces: Sequence[str]) -> None:
        """The guest is about to be launched at ``boot``, with these interfaces. Raises DriverError."""
        self._deadline = None
        if self._limit is None or boot == self._boot:
            return
        self._before, self._text = await self._console(), None
        self._packets = {name: await self._heard(name) for name in interfaces}
        self._boot = boot
        self._deadline = self._clock.monotonic() + self._limit / 2

    @property
    def remaining(self) -> float | None:
        """Seconds until the guest is to be looked at again; None when it is not watched."""
        return None if self._deadline is None else max(0.0, self._deadline - self._clock.monotonic())

    async def hangs(self) -> bool:
        """Looks if it is time for that, and tells whether the guest hangs; then it is watched no more. Raises DriverError."""
        if self.remaining is None or self.remaining > 0:
            return False
        assert self._limit is not None
        text, earlier = await self._console(), self._text
        alive = text != self._before and (not self._packets or await self._was_heard())
        if alive or (earlier is not None and text in {self._before, earlier}):
            self._deadline = None
            return not alive
        self._text = text
        self._deadline = self._clock.monotonic() + self._limit / 2
        return False

    def end(self) -> None:
        """The guest is off: nothing to watch."""
        self._deadline = None

    async def _console(self) -> bytes:
        return await self._hypervisor.console_output(self._instance_id)

    async def _was_heard(self) -> bool:
        """Whether a packet came. An interface that can't be asked has been taken away, or made anew: by someone alive."""
        for name, before in self._packets.items():
            try:
                if await self._heard(name) != before:
                    return True
            except DriverError:
                return True
        return False
