"""The link between control plane and agents, over real sockets on this machine."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pileus.hostapi.channel import (
    PROTOCOL,
    SPEC_LIMIT,
    Channel,
    ChannelError,
    Heartbeat,
    Hello,
    Refusal,
    TlsAddress,
    ToAgent,
    UnixAddress,
    Welcome,
    connect,
)
from pileus.hostapi.link import ConsoleError, HostLostError, HostSession, LinkServer
from pileus.hostapi.observation import ConsoleAnswer, ConsoleRequest, HostInventory, HostReport, KeyAnswer, KeyRequest
from pileus.hostapi.spec import HostSpec, VolumeSpec


def frame(message: object) -> bytes:
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(4, "big") + body


class Recorder:
    """A handler that writes down what it is told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        self.reports: list[HostReport] = []
        self.sessions: list[HostSession] = []
        self.fail = False

    async def on_hello(self, session: HostSession) -> None:
        self.events.append(("hello", session.host_id))
        self.sessions.append(session)

    async def on_report(self, session: HostSession, report: HostReport) -> None:
        if self.fail:
            raise RuntimeError("the store is broken")
        self.reports.append(report)

    async def on_key_request(self, session: HostSession, request: KeyRequest) -> KeyAnswer:
        self.events.append((request.key_id, session.host_id))
        return KeyAnswer(request_id=request.request_id, key=b"k" * 32)

    async def on_lost(self, session: HostSession) -> None:
        self.events.append(("lost", session.host_id))


def hello(host_id: str = "host-1", cloud_id: str = "cloud", protocol: int = PROTOCOL) -> Hello:
    inventory = HostInventory(host_id=host_id, vcpus=2, memory=1024, disk=10, accelerator="tcg")
    return Hello(cloud_id=cloud_id, inventory=inventory, protocol=protocol)


async def until(condition: Callable[[], object]) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it never came true")


async def say(channel: Channel[ToAgent], message: Hello) -> ToAgent:
    await channel.send(message)
    return await channel.receive()


@pytest.fixture
def handler() -> Recorder:
    return Recorder()


@pytest.fixture
async def address(tmp_path: Path, handler: Recorder) -> AsyncIterator[UnixAddress]:
    address = UnixAddress(path=tmp_path / "link")
    server = LinkServer(address, handler, cloud_id="cloud")
    await server.start()
    yield address
    await server.close()
    assert not address.path.exists()


@asynccontextmanager
async def host(address: UnixAddress, host_id: str = "host-1") -> AsyncIterator[Channel[ToAgent]]:
    channel = await connect(address)
    assert await say(channel, hello(host_id)) == Welcome()
    yield channel
    channel.abort()


async def test_a_host_is_taken_in_reports_and_is_missed(address: UnixAddress, handler: Recorder) -> None:
    async with host(address) as channel:
        await channel.send(HostReport(host_id="host-1", revision=3, full=True))
        await until(lambda: handler.reports)
    await until(lambda: ("lost", "host-1") in handler.events)
    assert handler.events == [("hello", "host-1"), ("lost", "host-1")]
    assert handler.reports[0].revision == 3


async def test_a_new_inventory_is_said_on_the_same_connection(address: UnixAddress, handler: Recorder) -> None:
    async with host(address) as channel:
        inventory = msgspec.structs.replace(hello().inventory, images=("abc",))
        await channel.send(Hello(cloud_id="cloud", inventory=inventory))
        await until(lambda: len(handler.events) == 2)
        assert handler.sessions[0] is handler.sessions[1]
        assert handler.sessions[0].inventory.images == ("abc",)


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (hello(cloud_id="another"), "belongs to another"),
        (hello(protocol=PROTOCOL + 1), "protocol"),
        (Heartbeat(), "first message"),
    ],
)
async def test_a_stranger_is_refused_with_the_reason(
    address: UnixAddress, handler: Recorder, message: Hello, said: str
) -> None:
    channel = await connect(address)
    answer = await say(channel, message)
    assert isinstance(answer, Refusal)
    assert said in answer.reason
    with pytest.raises(ChannelError):
        await channel.receive()
    assert not handler.events


async def test_the_socket_is_closed_to_other_users(tmp_path: Path, handler: Recorder) -> None:
    server = LinkServer(
        UnixAddress(path=tmp_path / "link"), handler, cloud_id="cloud", allowed_uids=frozenset({os.getuid() + 1})
    )
    await server.start()
    assert (tmp_path / "link").stat().st_mode & 0o777 == 0o600
    channel = await connect(UnixAddress(path=tmp_path / "link"))
    with pytest.raises(ChannelError):
        await say(channel, hello())
    assert not handler.events
    await server.close()


async def test_a_stale_socket_file_is_replaced(tmp_path: Path, handler: Recorder) -> None:
    for _ in range(2):  # the second start finds what a killed server left
        server = LinkServer(UnixAddress(path=tmp_path / "link"), handler, cloud_id="cloud")
        await server.start()
    async with host(UnixAddress(path=tmp_path / "link")):
        pass
    await server.close()


async def test_a_slow_host_gets_only_the_newest_spec(address: UnixAddress, handler: Recorder) -> None:
    ballast = tuple(VolumeSpec(volume_id=f"vol-{n}", size=n, image="x" * 1000) for n in range(2000))
    async with host(address) as channel:
        await until(lambda: handler.sessions)
        for revision in range(1, 51):
            await handler.sessions[0].send_spec(HostSpec(revision=revision, volumes=ballast))
            await asyncio.sleep(0.001)
        seen: list[int] = []
        while 50 not in seen:
            message = await channel.receive()
            assert isinstance(message, HostSpec)
            seen.append(message.revision)
    assert seen == sorted(seen)
    assert len(seen) < 10


async def test_a_console_is_asked_for_and_answered(address: UnixAddress, handler: Recorder) -> None:
    async with host(address) as channel:
        await until(lambda: handler.sessions)
        session = handler.sessions[0]
        good = asyncio.create_task(session.console("i-1", "output"))
        bad = asyncio.create_task(session.console("i-2", "screenshot"))
        asked = [await channel.receive(), await channel.receive()]
        await channel.send(ConsoleAnswer(request_id=999, data=b"nobody asked"))
        for request in reversed(asked):
            assert isinstance(request, ConsoleRequest)
            if request.instance_id == "i-1":
                await channel.send(ConsoleAnswer(request_id=request.request_id, data=b"login:"))
            else:
                await channel.send(ConsoleAnswer(request_id=request.request_id, error="not running"))
        assert await good == b"login:"
        with pytest.raises(ConsoleError, match="not running"):
            await bad
        with pytest.raises(TimeoutError):
            await session.console("i-1", "output", wait=0.01)


async def test_a_host_asks_for_a_data_key(address: UnixAddress, handler: Recorder) -> None:
    async with host(address) as channel:
        await channel.send(KeyRequest(request_id=7, key_id="dk-1"))
        assert await channel.receive() == KeyAnswer(request_id=7, key=b"k" * 32)
    assert ("dk-1", "host-1") in handler.events


async def test_a_question_fails_when_its_host_is_lost(address: UnixAddress, handler: Recorder) -> None:
    async with host(address) as channel:
        await until(lambda: handler.sessions)
        question = asyncio.create_task(handler.sessions[0].console("i-1", "output"))
        await channel.receive()
    with pytest.raises(HostLostError):
        await question
    with pytest.raises(HostLostError):
        await handler.sessions[0].console("i-1", "output")


async def test_a_host_that_comes_back_replaces_its_old_connection(address: UnixAddress, handler: Recorder) -> None:
    async with host(address), host(address) as second:
        await until(lambda: len(handler.events) == 3)
        assert handler.events == [("hello", "host-1"), ("lost", "host-1"), ("hello", "host-1")]
        await second.send(HostReport(host_id="host-1", revision=1))
        await until(lambda: handler.reports)


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x03abc",
        b"\x00\x00\x00\x00",
        b"\x00\x01\x86\xa0" + b"\x91" * 100_000,
        frame({"type": "report", "host_id": "host-1", "revision": "seven"}),
        frame({"type": "spec", "revision": 1}),
        frame(HostReport(host_id="host-2", revision=1)),
        frame(hello("host-2")),
    ],
    ids=["huge", "garbage", "empty", "nested", "ill-typed", "wrong-way", "other-host-report", "other-host-hello"],
)
async def test_nonsense_costs_a_host_its_connection_and_nobody_else(
    address: UnixAddress, handler: Recorder, garbage: bytes
) -> None:
    async with host(address, "host-9") as innocent:
        async with host(address) as channel:
            channel._writer.write(garbage)
            with pytest.raises(ChannelError):
                await channel.receive()
        await until(lambda: ("lost", "host-1") in handler.events)
        assert not handler.reports
        await innocent.send(HostReport(host_id="host-9", revision=1))
        await until(lambda: handler.reports)


async def test_an_error_in_the_handler_ends_the_session_and_not_the_server(
    address: UnixAddress, handler: Recorder
) -> None:
    handler.fail = True
    async with host(address) as channel:
        await channel.send(HostReport(host_id="host-1", revision=1))
        await until(lambda: ("lost", "host-1") in handler.events)
    handler.fail = False
    async with host(address) as channel:
        await channel.send(HostReport(host_id="host-1", revision=2))
        await until(lambda: handler.reports)


async def test_silence_is_noticed_on_both_ways(address: UnixAddress) -> None:
    channel = await connect(address)
    with pytest.raises(ChannelError, match="nothing heard"):
        await channel.receive(silence=0.01)
    silent = await asyncio.start_unix_server(lambda r, w: None, address.path.with_name("silent"))
    deaf = await connect(UnixAddress(path=address.path.with_name("silent")))
    with pytest.raises(ChannelError, match="took nothing"):
        await deaf.send(HostSpec(revision=1, volumes=(VolumeSpec(volume_id="x" * 10_000_000, size=1),)), silence=0.05)
    with pytest.raises(ChannelError, match="too long"):
        await deaf.send(HostSpec(revision=1, volumes=(VolumeSpec(volume_id="x" * SPEC_LIMIT, size=1),)))
    silent.close()


async def over_tls(
    server_context: ssl.SSLContext,
    agent_context: ssl.SSLContext,
    handler: Recorder,
    talk: Callable[[TlsAddress], Awaitable[None]],
) -> None:
    server = LinkServer(TlsAddress(host="127.0.0.1", port=0, context=server_context), handler, cloud_id="cloud")
    await server.start()
    try:
        await talk(TlsAddress(host="127.0.0.1", port=server.port, context=agent_context, server_name="control"))
    finally:
        await server.close()


async def test_over_tls_a_host_can_only_be_itself(new_authority: Callable[[str], Any], handler: Recorder) -> None:
    authority = new_authority("ours")

    async def talk(address: TlsAddress) -> None:
        channel = await connect(address)
        assert await say(channel, hello("host-1")) == Welcome()
        channel.abort()
        channel = await connect(address)
        answer = await say(channel, hello("host-2"))
        assert isinstance(answer, Refusal)
        assert "certificate" in answer.reason

    await over_tls(authority.server_context("control"), authority.client_context("host-1"), handler, talk)
    assert ("hello", "host-1") in handler.events
    assert ("hello", "host-2") not in handler.events


async def test_over_tls_strangers_get_nowhere(new_authority: Callable[[str], Any], handler: Recorder) -> None:
    ours, theirs = new_authority("ours"), new_authority("theirs")

    async def foreign_agent(address: TlsAddress) -> None:
        with pytest.raises((OSError, ChannelError)):
            await say(await connect(address), hello("host-1"))

    mixed = theirs.client_context("host-1")
    mixed.load_verify_locations(ours.certificate_path)
    await over_tls(ours.server_context("control"), mixed, handler, foreign_agent)
    await over_tls(theirs.server_context("control"), ours.client_context("host-1"), handler, foreign_agent)
    await over_tls(ours.server_context("somebody"), ours.client_context("host-1"), handler, foreign_agent)
    assert not handler.events


def test_a_server_that_asks_for_no_certificate_is_an_error(handler: Recorder) -> None:
    with pytest.raises(ValueError, match="certificates"):
        LinkServer(
            TlsAddress(host="127.0.0.1", port=0, context=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)), handler, cloud_id="c"
        )
