"""The agent's end of the link: connects, says who the host is, takes specs, brings reports, and starts over when it breaks."""

import asyncio
import itertools
import logging
from typing import Protocol

from pileus.base.clock import Clock
from pileus.drivers.errors import PermanentError, RetryableError
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
from pileus.hostapi.observation import ConsoleAnswer, ConsoleRequest, HostReport, KeyAnswer, KeyRequest
from pileus.hostapi.spec import HostSpec

log = logging.getLogger(__name__)

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 5.0
_ANSWERS_AT_ONCE = 4
_QUESTIONS_AT_ONCE = 256
_KEY_WITHIN = 10.0


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
        self._channel: Channel[ToAgent] | None = None
        self._numbers = itertools.count(1)
        self._keys: dict[int, asyncio.Future[KeyAnswer]] = {}

    async def open_key(self, key_id: str) -> bytes:
        """The bytes of a data key that this host's spec names. Nothing keeps them here: whoever asked does, while it must.

        Raises:
            PermanentError: it can't be opened until someone changes its KMS key; the message begins with EC2's reason code.
            RetryableError: the control plane can't be asked now, or does not know the key yet.
        """
        channel = self._channel
        if channel is None:
            raise RetryableError(f"data key {key_id}: no link to the control plane")
        number = next(self._numbers)
        waiting = self._keys[number] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(_KEY_WITHIN):
                await channel.send(KeyRequest(request_id=number, key_id=key_id))
                answer = await waiting
        except (ChannelError, TimeoutError) as error:
            raise RetryableError(f"data key {key_id}: the control plane does not answer") from error
        finally:
            del self._keys[number]
        if answer.error or not answer.key:
            raise (PermanentError if answer.permanent else RetryableError)(
                answer.error or f"data key {key_id} is empty"
            )
        return answer.key

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
            self._channel = channel
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
            self._channel = None
            channel.abort()
            for waiting in self._keys.values():
                if not waiting.done():
                    waiting.set_exception(ChannelError("the connection ended"))

    async def _listen(self, channel: Channel[ToAgent], questions: asyncio.Queue[ConsoleRequest]) -> None:
        while True:
            match await channel.receive():
                case HostSpec() as spec:
                    self._host.take_spec(spec)
                case ConsoleRequest() as request:
                    await questions.put(request)
                case KeyAnswer() as answer:
                    waiting = self._keys.get(answer.request_id)
                    if waiting is not None and not waiting.done():
                        waiting.set_result(answer)
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
