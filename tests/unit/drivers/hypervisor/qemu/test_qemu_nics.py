"""Interfaces of a QEMU that is played here: whatever an earlier agent left half done, nothing of it stays."""

from typing import Any, cast

import pytest

from pileus.drivers.errors import PermanentError, RetryableError
from pileus.drivers.hypervisor.qemu.monitor import Monitor, Refused
from pileus.drivers.hypervisor.qemu.nics import Nics
from pileus.hostapi.spec import NicSpec

NIC = NicSpec(interface_id="eni-1", mac="02:00:00:00:00:01", index=1)


class Qemu:
    """``devices``: each with whether its backend lives. ``backends``: those without a device. ``names``: of descriptors."""

    def __init__(self) -> None:
        self.devices: dict[str, bool] = {}
        self.backends: set[str] = set()
        self.names: set[str] = set()
        self.refuses = ""

    def guest_lets_go(self, name: str) -> None:
        if self.devices.pop(name):
            self.backends.add(name)

    @property
    def taps(self) -> set[str]:
        """Those that the process has open."""
        return {name for name, alive in self.devices.items() if alive} | self.backends | self.names

    async def add_named(self, descriptor: int, name: str) -> None:
        self.names.add(name)

    async def execute(self, command: str, arguments: dict[str, Any]) -> object:
        if command == self.refuses:
            raise Refused(command)
        match command:
            case "qom-list":
                rest = [{"name": "rng", "type": "child<virtio-rng-pci>"}, {"name": "type", "type": "string"}]
                return [{"name": name, "type": "child<virtio-net-pci>"} for name in self.devices] + rest
            case "human-monitor-command":
                return "".join(self._shown())
            case "netdev_add":
                self.names.remove(arguments["fd"])
                self.backends.add(arguments["id"].removesuffix(".tap"))
            case "device_add":
                self.backends.remove(arguments["netdev"].removesuffix(".tap"))
                self.devices[arguments["id"]] = True
            case "netdev_del":
                self._delete(arguments["id"].removesuffix(".tap"))
            case "closefd":
                self._discard(self.names, arguments["fdname"])
            case _:
                assert command == "device_del"
        return {}

    def _shown(self) -> list[str]:
        """As QEMU 7.2 says it: the backend of a device is listed whether it lives or not."""
        with_device = [
            f"{name}: index=0,type=nic,model=virtio-net-pci\r\n \\ {name}.tap: index=0,type=tap,fd=9\r\n"
            for name in self.devices
        ]
        return with_device + [f"{name}.tap: index=0,type=tap,fd=8\r\n" for name in self.backends]

    def _delete(self, name: str) -> None:
        if self.devices.get(name):
            self.devices[name] = False
        else:
            self._discard(self.backends, name)

    @staticmethod
    def _discard(found: set[str], name: str) -> None:
        if name not in found:
            raise Refused(name)
        found.remove(name)


class Agent:
    """What ``guest`` does with ``Nics``: a record, and a sweep after all work."""

    def __init__(self, qemu: Qemu, interfaces: tuple[str, ...] = (), cut: tuple[str, ...] = ()) -> None:
        self.record = interfaces, cut
        self._monitor = cast("Monitor", qemu)
        self.nics = Nics("i-1")

    async def plug(self) -> None:
        self.record = ("eni-1",), self.record[1]
        try:
            await self.nics.plug(self._monitor, NIC, 5, self.record[1])
        finally:
            await self.sweep()

    async def cut(self) -> None:
        await self.nics.unplug(self._monitor, "eni-1")
        self.record = self.record[0], ("eni-1",)
        await self.sweep()

    async def sweep(self) -> None:
        self.record = await self.nics.sweep(self._monitor, *self.record)


async def test_it_comes_and_goes() -> None:
    qemu = Qemu()
    agent = Agent(qemu)
    for _ in range(2):
        await agent.plug()
        assert agent.record == (("eni-1",), ())
        assert qemu.devices == {"eni-1": True}
    await agent.nics.unplug(cast("Monitor", qemu), "eni-1")
    with pytest.raises(RetryableError):
        await agent.plug()
    qemu.guest_lets_go("eni-1")
    await agent.sweep()
    assert agent.record == ((), ())
    assert not qemu.taps


async def test_one_that_was_cut_comes_back_only_when_the_dead_one_is_known_to_be_gone() -> None:
    qemu = Qemu()
    agent = Agent(qemu)
    await agent.plug()
    await agent.cut()
    assert agent.record == ((), ("eni-1",))
    assert not qemu.taps
    with pytest.raises(RetryableError):
        await agent.plug()
    qemu.guest_lets_go("eni-1")
    with pytest.raises(RetryableError):  # it is gone, but nobody has looked
        await agent.plug()
    await agent.plug()
    assert agent.record == (("eni-1",), ())
    assert qemu.devices == {"eni-1": True}


@pytest.mark.parametrize("last", ["getfd", "netdev_add", "device_add"])
async def test_what_a_killed_agent_left_is_taken_up_or_away(last: str) -> None:
    qemu = Qemu()
    qemu.names = {"eni-1"} if last == "getfd" else set()
    qemu.backends = {"eni-1"} if last == "netdev_add" else set()
    qemu.devices = {"eni-1": True} if last == "device_add" else {}
    agent = Agent(qemu, interfaces=("eni-1",))
    await agent.sweep()
    assert agent.record[0] == tuple(qemu.taps) == (("eni-1",) if last == "device_add" else ())
    await agent.plug()
    assert qemu.devices == {"eni-1": True}


async def test_one_that_was_to_be_cut_when_the_agent_was_killed_is_cut_by_the_next() -> None:
    qemu = Qemu()
    qemu.devices = {"eni-1": True}
    agent = Agent(qemu, interfaces=("eni-1",), cut=("eni-1",))
    await agent.sweep()
    assert agent.record == ((), ("eni-1",))
    assert not qemu.taps


@pytest.mark.parametrize("command", ["netdev_add", "device_add"])
async def test_nothing_stays_of_what_qemu_refused(command: str) -> None:
    qemu = Qemu()
    qemu.refuses = command
    agent = Agent(qemu)
    with pytest.raises(Refused):
        await agent.plug()
    assert agent.record == ((), ())
    assert not qemu.taps


async def test_an_id_that_qemu_would_not_take_is_refused_for_good() -> None:
    agent = Agent(Qemu())
    with pytest.raises(PermanentError):
        await agent.nics.plug(cast("Monitor", Qemu()), NicSpec(interface_id="eni,1", mac="", index=0), 5, ())
