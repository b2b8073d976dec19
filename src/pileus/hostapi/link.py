"""The control plane's end of the link: takes hosts in, pushes their specs, delivers their reports.

Used by ``pileus.controllers``. What an agent sends is untrusted: it is bounded, validated, and can speak only for its
own host. A host that talks nonsense loses its connection and nothing else happens.
"""

import asyncio
import itertools
import logging
import os
import ssl
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, Protocol

from pileus.hostapi.channel import (
    HEARTBEAT,
    HELLO_LIMIT,
    PROTOCOL,
    REPORT_LIMIT,
    TO_CONTROL,
    Address,
    Channel,
    ChannelError,
    Heartbeat,
    Hello,
    Refusal,
    ToControl,
    UnixAddress,
    Welcome,
    bind,
    until_one_ends,
)
from pileus.hostapi.observation import (
    ConsoleAnswer,
    ConsoleRequest,
    HostInventory,
    HostReport,
    KeyAnswer,
    KeyRequest,
)
from pileus.hostapi.spec import HostSpec

log = logging.getLogger(__name__)

_HELLO_WITHIN = 10.0
_SESSIONS_AT_ONCE = 4096


class HostLostError(Exception):
    """The connection to the host ended before it answered."""


class ConsoleError(Exception):
    """The host says that it has no such picture or output."""


class HostSession:
    """One host, as long as its connection lasts."""

    def __init__(self, channel: Channel[ToControl], inventory: HostInventory) -> None:
        self.inventory = inventory
        self._channel = channel
        self._newest: HostSpec | None = None
        self._spec_waits = asyncio.Event()
        self._questions: dict[int, asyncio.Future[bytes]] = {}
        self._numbers = itertools.count(1)
        self.ended = asyncio.Event()

    @property
    def host_id(self) -> str:
        """Which host this is; proven by its certificate, or by its user id on the same machine."""
        return self.inventory.host_id

    async def send_spec(self, spec: HostSpec) -> None:
        """Pushes the host's whole spec. Returns at once: a slow host gets only the newest of several."""
        self._newest = spec
        self._spec_waits.set()

    async def console(self, instance_id: str, what: Literal["output", "screenshot"], wait: float = 10.0) -> bytes:
        """A guest's serial output (its last 64 KiB) or its screen (PNG).

        Raises:
            ConsoleError: there is none. HostLostError: the host went away. TimeoutError: no answer in ``wait`` seconds.
        """
        if self.ended.is_set():
            raise HostLostError(self.host_id)
        number = next(self._numbers)
        answer = self._questions[number] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(wait):
                await self._channel.send(ConsoleRequest(request_id=number, instance_id=instance_id, what=what))
                return await answer
        except ChannelError as error:
            raise HostLostError(self.host_id) from error
        finally:
            del self._questions[number]

    def close(self) -> None:
        """Ends the connection; the agent will come back with a new one."""
        self._channel.abort()

    async def push(self) -> None:
        """Sends the newest spec whenever there is one. Run by the server for the session's life."""
        while True:
            await self._spec_waits.wait()
            self._spec_waits.clear()
            if self._newest is not None:
                await self._channel.send(self._newest)

    def answered(self, answer: ConsoleAnswer) -> None:
        """Hands an answer to whoever waits for it; one that nobody waits for is dropped."""
        question = self._questions.get(answer.request_id)
        if question is None or question.done():
            return
        if answer.error:
            question.set_exception(ConsoleError(answer.error))
        else:
            question.set_result(answer.data)

    def fail_questions(self) -> None:
        """Tells everyone who still waits for an answer that the host is lost."""
        for question in self._questions.values():
            if not question.done():
                question.set_exception(HostLostError(self.host_id))


class Handler(Protocol):
    """What the control plane does with its hosts. Called for one host in order; hosts run side by side.

    An error raised in here is logged and costs the host its connection.
    """

    async def on_hello(self, session: HostSession) -> None:
        """The host connected, or has a new inventory. A full report follows at once after the first."""
        ...

    async def on_report(self, session: HostSession, report: HostReport) -> None:
        """The host reported. While this runs, the host's next message waits."""
        ...

    async def on_key_request(self, session: HostSession, request: KeyRequest) -> KeyAnswer:
        """The host wants a data key. It gets those that its own spec names, and no others."""
        ...

    async def on_lost(self, session: HostSession) -> None:
        """The host is gone: said once for each session whose ``on_hello`` was called."""
        ...


class LinkServer:
    """Listens for agents.

    ``cloud_id`` is the cloud that an agent must belong to. On a unix socket, ``allowed_uids`` (by default this
    process's) may connect; over TLS, the host id must be a DNS name of the agent's certificate.
    """

    def __init__(
        self, address: Address, handler: Handler, *, cloud_id: str, allowed_uids: frozenset[int] | None = None
    ) -> None:
        if not isinstance(address, UnixAddress) and address.context.verify_mode != ssl.CERT_REQUIRED:
            raise ValueError("the link must demand certificates from agents")
        self._address = address
        self._handler = handler
        self._cloud_id = cloud_id
        self._allowed_uids = frozenset({os.getuid()}) if allowed_uids is None else allowed_uids
        self._sessions: dict[str, HostSession] = {}
        self._conversations: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def sessions(self) -> Mapping[str, HostSession]:
        """The hosts that are connected now, by host id."""
        return MappingProxyType(self._sessions)

    @property
    def port(self) -> int:
        """The TCP port that was bound, when the address asked for port 0."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def start(self) -> None:
        """Begins to listen. Raises OSError when the address can't be had."""
        if isinstance(self._address, UnixAddress):
            listener = bind(self._address)
            self._server = await asyncio.start_unix_server(self._converse, sock=listener, limit=1 << 20)
        else:
            self._server = await asyncio.start_server(
                self._converse, self._address.host, self._address.port, ssl=self._address.context, limit=1 << 20
            )

    async def close(self) -> None:
        """Ends all sessions (``on_lost`` is called for each) and stops listening."""
        if self._server is not None:
            self._server.close()
        for conversation in self._conversations:
            conversation.cancel()
        await asyncio.gather(*self._conversations, return_exceptions=True)
        if isinstance(self._address, UnixAddress):
            self._address.path.unlink(missing_ok=True)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversation = asyncio.current_task()
        assert conversation is not None
        self._conversations.add(conversation)
        channel = Channel(reader, writer, TO_CONTROL, REPORT_LIMIT)
        try:
            if len(self._conversations) <= _SESSIONS_AT_ONCE and (session := await self._greet(channel)):
                await self._attend(session, channel)
        except ChannelError as error:
            log.info("host connection ended", extra={"reason": str(error)})
        except asyncio.CancelledError:
            pass  # the server closes; asyncio would log a cancelled connection as an error
        except Exception:
            log.exception("a host's message could not be handled")
        finally:
            channel.abort()
            self._conversations.discard(conversation)

    async def _greet(self, channel: Channel[ToControl]) -> HostSession | None:
        if isinstance(self._address, UnixAddress) and channel.peer_uid() not in self._allowed_uids:
            log.warning("host connection refused", extra={"uid": channel.peer_uid()})
            return None
        hello = await channel.receive(limit=HELLO_LIMIT, silence=_HELLO_WITHIN)
        if reason := self._objection(hello, channel.peer_names()):
            log.warning("host refused", extra={"reason": reason})
            await channel.send(Refusal(reason=reason))
            return None
        assert isinstance(hello, Hello)
        await channel.send(Welcome())
        return HostSession(channel, hello.inventory)

    def _objection(self, hello: ToControl, names: frozenset[str]) -> str:
        if not isinstance(hello, Hello):
            return "the first message must be a hello"
        if hello.protocol != PROTOCOL:
            return f"protocol {hello.protocol} is not spoken here, but {PROTOCOL}"
        if hello.cloud_id != self._cloud_id:
            return f"this is cloud {self._cloud_id}, the host belongs to {hello.cloud_id}"
        if not isinstance(self._address, UnixAddress) and hello.inventory.host_id not in names:
            return f"the certificate is not that of host {hello.inventory.host_id}"
        return ""

    async def _attend(self, session: HostSession, channel: Channel[ToControl]) -> None:
        while earlier := self._sessions.get(session.host_id):  # the host reconnected before its silence was noticed
            earlier.close()
            await earlier.ended.wait()
        self._sessions[session.host_id] = session
        log.info("host connected", extra={"host": session.host_id})
        try:
            await self._handler.on_hello(session)
            await until_one_ends(self._listen(session, channel), session.push(), channel.beat(HEARTBEAT))
        finally:
            session.fail_questions()
            try:
                await self._handler.on_lost(session)
            finally:
                del self._sessions[session.host_id]
                session.ended.set()

    async def _listen(self, session: HostSession, channel: Channel[ToControl]) -> None:
        while True:
            match await channel.receive():
                case HostReport() as report:
                    if report.host_id != session.host_id:
                        raise ChannelError(f"host {session.host_id} reported for {report.host_id}")
                    await self._handler.on_report(session, report)
                case ConsoleAnswer() as answer:
                    session.answered(answer)
                case KeyRequest() as request:
                    await channel.send(await self._handler.on_key_request(session, request))
                case Hello() as hello:
                    if hello.inventory.host_id != session.host_id:
                        raise ChannelError(f"host {session.host_id} now says it is {hello.inventory.host_id}")
                    session.inventory = hello.inventory
                    await self._handler.on_hello(session)
                case Heartbeat():
                    pass
