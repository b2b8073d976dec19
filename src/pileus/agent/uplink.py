"""The agent's end of the link: connects, says who the host is, takes specs, brings reports, and starts over when it breaks."""

import asyncio
import logging
from typing import Protocol

from pileus.base.clock import Clock
from pileus.hostapi.channel import (
    Address,
    Channel,
    ChannelError,
    Heartbeat,
    Hello,
    Refusal,
    ToAgent,
    Welcome,
    connect,
    until_one_ends,
)
from pileus.hostapi.observation import ConsoleAnswer, ConsoleRequest, HostReport
from pileus.hostapi.spec import HostSpec

log = logging.getLogger(__name__)

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 5.0
_ANSWERS_AT_ONCE = 4
_QUESTIONS_AT_ONCE = 256


class Host(Protocol):
    """What the uplink asks of the agent."""

    def hello(self) -> Hello:
        """Who the host is and what it has, now."""
        ...

    async def new_hello(self, said: Hello) -> Hello:
        """Waits until what the host has is no longer what was ``said``."""
        ...

    def connected(self) -> None:
        """The control plane listens: it must be told everything."""
        ...

    def take_spec(self, spec: HostSpec) -> None:
        """A spec came; must return at once."""
        ...

    async def next_report(self) -> HostReport:
        """Waits until there is something to report."""
        ...

    async def answer(self, request: ConsoleRequest) -> ConsoleAnswer:
        """Fetches what the control plane wants to see of a guest."""
        ...


class Uplink:
    """Keeps the agent connected for as long as ``run`` runs."""

    def __init__(self, address: Address, host: Host, clock: Clock) -> None:
        self._address = address
        self._host = host
        self._clock = clock
        self._welcomed = False

    async def run(self) -> None:
        """Connects again whenever the connection ends, soon at first, then more and more patiently. Never returns."""
        pause, told = _FIRST_PAUSE, ""
        while True:
            self._welcomed = False
            try:
                await self._converse()
            except (ChannelError, OSError) as error:
                if (reason := str(error)) != told:  # a control plane that stays away is said once
                    log.warning("no link to the control plane", extra={"reason": reason})
                    told = reason
            if self._welcomed:
                pause, told = _FIRST_PAUSE, ""
            await self._clock.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _converse(self) -> None:
        channel = await connect(self._address)
        try:
            hello = self._host.hello()
            await channel.send(hello)
            match await channel.receive():
                case Welcome():
                    self._welcomed = True
                case Refusal(reason=reason):
                    raise ChannelError(f"the control plane refuses this host: {reason}")
                case _:
                    raise ChannelError("the control plane did not say welcome")
            log.info("linked to the control plane")
            self._host.connected()
            questions: asyncio.Queue[ConsoleRequest] = asyncio.Queue(_QUESTIONS_AT_ONCE)
            await until_one_ends(
                self._listen(channel, questions),
                self._report(channel),
                self._introduce(channel, hello),
                channel.beat(),
                *(self._answer(channel, questions) for _ in range(_ANSWERS_AT_ONCE)),
            )
        finally:
            channel.abort()

    async def _listen(self, channel: Channel[ToAgent], questions: asyncio.Queue[ConsoleRequest]) -> None:
        while True:
            match await channel.receive():
                case HostSpec() as spec:
                    self._host.take_spec(spec)
                case ConsoleRequest() as request:
                    await questions.put(request)
                case Heartbeat():
                    pass
                case Welcome() | Refusal():
                    raise ChannelError("welcome and refusal come first or never")

    async def _answer(self, channel: Channel[ToAgent], questions: asyncio.Queue[ConsoleRequest]) -> None:
        while True:
            await channel.send(await self._host.answer(await questions.get()))

    async def _report(self, channel: Channel[ToAgent]) -> None:
        while True:
            await channel.send(await self._host.next_report())

    async def _introduce(self, channel: Channel[ToAgent], said: Hello) -> None:
        while True:
            said = await self._host.new_hello(said)
            await channel.send(said)
