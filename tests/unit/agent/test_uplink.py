"""The agent's end of the link: it starts over whatever happens, soon at first and then patiently."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pileus.agent.uplink import Uplink
from pileus.base.clock import SystemClock
from pileus.drivers.errors import PermanentError, RetryableError
from pileus.hostapi.channel import Hello, UnixAddress
from pileus.hostapi.link import HostSession, LinkServer
from pileus.hostapi.observation import ConsoleAnswer, ConsoleRequest, HostInventory, HostReport, KeyAnswer, KeyRequest
from pileus.hostapi.spec import HostSpec


class CountingClock(SystemClock):
    def __init__(self) -> None:
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0.001)


class SilentHost:
    """A host that has nothing to say."""

    def __init__(self, cloud_id: str = "cloud") -> None:
        self.cloud_id = cloud_id
        self.connections = 0
        self.specs: list[int] = []

    def hello(self) -> Hello:
        inventory = HostInventory(host_id="host-1", vcpus=1, memory=1, disk=1, accelerator="fake")
        return Hello(cloud_id=self.cloud_id, inventory=inventory)

    async def new_hello(self, said: Hello) -> Hello:
        await asyncio.Event().wait()
        return said

    def connected(self) -> None:
        self.connections += 1

    def take_spec(self, spec: HostSpec) -> None:
        self.specs.append(spec.revision)

    async def next_report(self) -> HostReport:
        await asyncio.Event().wait()
        return HostReport(host_id="host-1", revision=0)

    async def answer(self, request: ConsoleRequest) -> ConsoleAnswer:
        return ConsoleAnswer(request_id=request.request_id)


class Greeter:
    """A control plane that sends one spec to whoever comes."""

    async def on_hello(self, session: HostSession) -> None:
        await session.send_spec(HostSpec(revision=1))

    async def on_report(self, session: HostSession, report: HostReport) -> None: ...

    async def on_key_request(self, session: HostSession, request: KeyRequest) -> KeyAnswer:
        if request.key_id == "dk-lost":
            session.close()
            await asyncio.Event().wait()
        return ANSWERS[request.key_id](request.request_id)

    async def on_lost(self, session: HostSession) -> None: ...


ANSWERS = {
    "dk-good": lambda number: KeyAnswer(request_id=number, key=b"k" * 32),
    "dk-off": lambda number: KeyAnswer(
        request_id=number, error="Client.InvalidKMSKey.InvalidState: off", permanent=True
    ),
    "dk-early": lambda number: KeyAnswer(request_id=number, error="not yet"),
    "dk-empty": lambda number: KeyAnswer(request_id=number),
}


async def until_slept(clock: CountingClock, count: int) -> None:
    for _ in range(2000):
        if len(clock.slept) >= count:
            return
        await asyncio.sleep(0.001)
    raise AssertionError("the uplink does not try again")


async def test_it_tries_for_ever_and_says_so_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = CountingClock()
    task = asyncio.create_task(Uplink(UnixAddress(path=tmp_path / "nobody"), SilentHost(), clock).run())
    await until_slept(clock, 9)
    task.cancel()
    assert clock.slept[:9] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert len([record for record in caplog.records if "no link" in record.message]) == 1


async def test_after_a_good_connection_it_is_impatient_again(tmp_path: Path) -> None:
    clock, host, address = CountingClock(), SilentHost(), UnixAddress(path=tmp_path / "link")
    task = asyncio.create_task(Uplink(address, host, clock).run())
    await until_slept(clock, 3)
    server = LinkServer(address, Greeter(), cloud_id="cloud")
    await server.start()
    while not host.specs:
        await asyncio.sleep(0.001)
    before = len(clock.slept)
    await server.close()
    await until_slept(clock, before + 2)
    assert clock.slept[before : before + 2] == [0.05, 0.1]
    assert (host.connections, host.specs) == (1, [1])
    task.cancel()


async def test_a_host_that_is_refused_says_why_and_goes_on_trying(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock, host, address = CountingClock(), SilentHost("another"), UnixAddress(path=tmp_path / "link")
    server = LinkServer(address, Greeter(), cloud_id="cloud")
    await server.start()
    task = asyncio.create_task(Uplink(address, host, clock).run())
    await until_slept(clock, 9)
    assert not host.connections
    assert clock.slept[8] == 5.0
    assert any("belongs to another" in str(record.__dict__.get("reason")) for record in caplog.records)
    task.cancel()
    await server.close()


@pytest.fixture
async def linked(tmp_path: Path) -> AsyncIterator[Uplink]:
    address = UnixAddress(path=tmp_path / "link")
    server = LinkServer(address, Greeter(), cloud_id="cloud")
    await server.start()
    host = SilentHost()
    uplink = Uplink(address, host, SystemClock())
    task = asyncio.create_task(uplink.run())
    while not host.connections:
        await asyncio.sleep(0.001)
    yield uplink
    task.cancel()
    await server.close()


async def test_data_keys_are_asked_for(linked: Uplink) -> None:
    answers = await asyncio.gather(*(linked.open_key("dk-good") for _ in range(20)))
    assert answers == [b"k" * 32] * 20


async def test_a_key_that_is_refused_says_why(linked: Uplink) -> None:
    with pytest.raises(PermanentError, match=r"^Client\.InvalidKMSKey\.InvalidState: off"):
        await linked.open_key("dk-off")
    for key_id in ("dk-early", "dk-empty", "dk-lost"):
        with pytest.raises(RetryableError):
            await linked.open_key(key_id)


async def test_without_a_link_there_is_no_key(tmp_path: Path) -> None:
    uplink = Uplink(UnixAddress(path=tmp_path / "nobody"), SilentHost(), SystemClock())
    with pytest.raises(RetryableError, match="no link"):
        await uplink.open_key("dk-good")
