"""What every hypervisor driver promises, the fake one too. The real guests are those of ``hypervisor_guest``."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Protocol

import hypervisor_guest
import pytest

from pileus.base import process
from pileus.drivers.errors import PermanentError
from pileus.drivers.hypervisor.fake import FakeHost, FakeHypervisor
from pileus.drivers.hypervisor.interface import BootFiles, Disk, DiskLayer, GuestState, Hypervisor
from pileus.drivers.hypervisor.qemu import QemuHypervisor
from pileus.hostapi.spec import GuestSpec


class Host(Protocol):
    """A machine with a hypervisor on it, and what befalls its guests. ``told`` are the calls of ``on_change``."""

    hypervisor: Hypervisor
    told: list[str]

    async def start(self, guest: GuestSpec) -> None: ...
    async def replace_driver(self) -> None: ...
    async def kill_process(self, instance_id: str) -> None: ...
    async def destroy(self) -> None: ...


class Simulated:
    """The guest's part is played here: it does what its command line says."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self._host = FakeHost()
        self.hypervisor: Hypervisor = FakeHypervisor(self._host)

    async def start(self, guest: GuestSpec) -> None:
        await self.hypervisor.ensure_running(guest, BootFiles(), (), {})
        match guest.cmdline:
            case "do=poweroff":
                self._host.guest_shutdown(guest.instance_id)
            case "do=panic":
                self._host.panic(guest.instance_id)
            case "do=reboot":
                self._host.guest_reboot(guest.instance_id)
                self._host.print(guest.instance_id, "FOUND mark")
            case _:
                pass
        self._host.print(guest.instance_id, "READY")

    async def replace_driver(self) -> None:
        self.hypervisor = FakeHypervisor(self._host)
        await self.hypervisor.open(self.told.append)

    async def kill_process(self, instance_id: str) -> None:
        self._host.crash(instance_id)

    async def destroy(self) -> None:
        await self.hypervisor.close()


class Real:
    """QEMU. Every guest has a disk of its own."""

    def __init__(self, root: Path) -> None:
        self.told: list[str] = []
        self._root = root
        self._boot_files = hypervisor_guest.boot_files()
        self.hypervisor: Hypervisor = QemuHypervisor(root)

    async def start(self, guest: GuestSpec) -> None:
        disks = [self._disk(disk.volume_id, disk.serial) for disk in guest.disks]
        await self.hypervisor.ensure_running(guest, self._boot_files, disks, {})

    def _disk(self, volume_id: str, serial: str) -> Disk:
        path = self._root / volume_id
        if not path.exists():
            process.run_sync("qemu-img", "create", "-q", "-f", "qcow2", str(path), "1G")
        layer = DiskLayer(path=path, format="qcow2", writable=True)
        return Disk(volume_id=volume_id, index=0, serial=serial, layers=(layer,))

    async def replace_driver(self) -> None:
        await self.hypervisor.close()
        self.hypervisor = QemuHypervisor(self._root)
        await self.hypervisor.open(self.told.append)

    async def kill_process(self, instance_id: str) -> None:
        assert isinstance(self.hypervisor, QemuHypervisor)
        pid = self.hypervisor.pid(instance_id)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

    async def destroy(self) -> None:
        for guest in await self.hypervisor.observe():
            await self.hypervisor.remove(guest.instance_id)
        await self.hypervisor.close()


@pytest.fixture(params=["fake", pytest.param("qemu", marks=[pytest.mark.vm, pytest.mark.root])])
async def host(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Host]:
    host: Host = Simulated() if request.param == "fake" else Real(tmp_path)
    try:
        await host.hypervisor.open(host.told.append)
        yield host
    finally:
        await host.destroy()


async def wait_until(condition: Callable[[GuestState], bool], host: Host, instance_id: str = "i-1") -> GuestState:
    """The guest's state once ``condition`` holds of it, within a minute."""
    async with asyncio.timeout(60):
        while not condition(state := await look(host, instance_id)):
            await asyncio.sleep(0.05)
        return state


async def wait_for_text(text: bytes, host: Host, instance_id: str = "i-1") -> bytes:
    """The console's text once it has ``text``, within a minute."""
    async with asyncio.timeout(60):
        while text not in (output := await host.hypervisor.console_output(instance_id)):
            await asyncio.sleep(0.1)
        return output


async def look(host: Host, instance_id: str = "i-1") -> GuestState:
    (state,) = [state for state in await host.hypervisor.observe() if state.instance_id == instance_id]
    return state


def is_off(state: GuestState) -> bool:
    return not state.running


spec = hypervisor_guest.guest_spec


async def test_nothing_is_known_before_the_first_start(host: Host) -> None:
    assert not await host.hypervisor.observe()
    assert await host.hypervisor.console_output("i-1") == b""
    with pytest.raises(PermanentError):
        await host.hypervisor.screenshot("i-1")
    await host.hypervisor.press_power_button("i-1")
    await host.hypervisor.cut_power("i-1")
    await host.hypervisor.remove("i-1")


async def test_a_guest_runs_prints_and_obeys_its_power_button(host: Host) -> None:
    await host.start(spec())
    await wait_for_text(b"READY", host)
    state = await look(host)
    assert (state.boot, state.reset, state.running, state.impaired, state.cause) == (1, 0, True, False, "")
    assert (await host.hypervisor.screenshot("i-1")).startswith(b"\x89PNG\r\n\x1a\n")
    await host.hypervisor.press_power_button("i-1")
    assert (await wait_until(is_off, host)).cause == "asked"
    assert b"READY" in await host.hypervisor.console_output("i-1")
    with pytest.raises(PermanentError):
        await host.hypervisor.screenshot("i-1")


async def test_starting_what_runs_changes_nothing_and_a_higher_boot_starts_anew(host: Host) -> None:
    await host.start(spec())
    await host.start(spec())
    assert [(state.boot, state.running) for state in await host.hypervisor.observe()] == [(1, True)]
    await wait_for_text(b"READY", host)
    await host.start(spec(boot=2))
    assert [(state.boot, state.running) for state in await host.hypervisor.observe()] == [(2, True)]
    async with asyncio.timeout(60):
        while (await host.hypervisor.console_output("i-1")).count(b"READY") < 2:
            await asyncio.sleep(0.1)


async def test_a_guest_that_shuts_itself_down_is_off_by_its_own_wish(host: Host) -> None:
    await host.start(spec(do="poweroff"))
    assert (await wait_until(is_off, host)).cause == "guest-shutdown"


async def test_a_guest_that_reboots_comes_up_again_with_its_data(host: Host) -> None:
    await host.start(spec(do="reboot"))
    await wait_for_text(b"FOUND mark", host)
    state = await look(host)
    assert (state.boot, state.running, state.impaired) == (1, True, False)


async def test_a_guest_whose_process_is_killed_has_crashed(host: Host) -> None:
    await host.start(spec())
    host.told.clear()
    await host.kill_process("i-1")
    assert (await wait_until(is_off, host)).cause == "crash"
    assert host.told == ["i-1"]
    await host.start(spec(boot=2))
    assert (await look(host)).running


async def test_a_guest_that_panicked_is_impaired_until_it_is_reset(host: Host) -> None:
    await host.start(spec(do="panic"))
    state = await wait_until(lambda state: state.impaired, host)
    assert state.running
    await host.hypervisor.reset("i-1", 1)
    state = await wait_until(lambda state: state.reset == 1, host)
    assert (state.running, state.boot) == (True, 1)


async def test_a_reset_is_done_once(host: Host) -> None:
    await host.start(spec())
    await wait_for_text(b"READY", host)
    await host.hypervisor.reset("i-1", 1)
    await host.hypervisor.reset("i-1", 1)
    state = await wait_until(lambda state: state.reset == 1, host)
    assert (state.running, state.boot) == (True, 1)
    await host.hypervisor.reset("i-1", 1)
    assert (await look(host)).reset == 1


async def test_without_power_a_guest_is_off_at_once_and_starts_again(host: Host) -> None:
    await host.start(spec())
    await host.hypervisor.cut_power("i-1")
    state = await look(host)
    assert (state.running, state.cause) == (False, "asked")
    await host.hypervisor.reset("i-1", 5)
    assert not (await look(host)).running
    await host.start(spec(boot=2))
    assert (await look(host)).running


async def test_a_removed_guest_leaves_nothing(host: Host) -> None:
    await host.start(spec())
    await host.hypervisor.remove("i-1")
    assert not await host.hypervisor.observe()
    assert await host.hypervisor.console_output("i-1") == b""
    await host.hypervisor.remove("i-1")


async def test_another_driver_finds_what_runs_and_what_is_off(host: Host) -> None:
    await host.start(spec("i-1"))
    await host.start(spec("i-2"))
    await host.hypervisor.cut_power("i-2")
    await wait_for_text(b"READY", host)
    before = sorted(await host.hypervisor.observe(), key=lambda state: state.instance_id)
    await host.replace_driver()
    assert sorted(await host.hypervisor.observe(), key=lambda state: state.instance_id) == before
    assert b"READY" in await host.hypervisor.console_output("i-1")
    await host.hypervisor.press_power_button("i-1")
    assert (await wait_until(is_off, host)).cause == "asked"
