"""What every hypervisor driver promises, the fake one too. The real guests are those of ``hypervisor_guest``."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Protocol

import hypervisor_guest
import msgspec
import pytest
from hypervisor_taps import Taps

from pileus.base import process
from pileus.drivers.errors import PermanentError, RetryableError
from pileus.drivers.hypervisor.fake import FakeHost, FakeHypervisor
from pileus.drivers.hypervisor.interface import BootFiles, Disk, DiskLayer, GuestState, Hypervisor
from pileus.drivers.hypervisor.qemu import QemuHypervisor
from pileus.hostapi.spec import GuestSpec, NicSpec


class Host(Protocol):
    """A machine with a hypervisor on it, and what befalls its guests. ``told`` are the calls of ``on_change``.

    Its volumes have two layers of their own over a base that is shared. ``fresh_top`` makes one more, still empty.
    """

    hypervisor: Hypervisor
    told: list[str]

    async def start(self, guest: GuestSpec, disks: Sequence[Disk] = ()) -> None: ...
    def make_disk(self, volume_id: str) -> Disk: ...
    def fresh_top(self, disk: Disk, name: str) -> DiskLayer: ...
    def open_tap(self, name: str) -> int: ...
    async def replace_driver(self) -> None: ...
    async def kill_process(self, instance_id: str) -> None: ...
    async def destroy(self) -> None: ...


def disk_of(volume_id: str, paths: Sequence[Path]) -> Disk:
    top, own, base = paths
    layers = (
        top_at(top),
        DiskLayer(path=own, format="qcow2", writable=False, mergeable=True),
        DiskLayer(path=base, format="raw", writable=False),
    )
    return Disk(volume_id=volume_id, index=1, serial=volume_id.replace("-", ""), layers=layers)


def top_at(path: Path) -> DiskLayer:
    return DiskLayer(path=path, format="qcow2", writable=True, mergeable=True)


def overlay(path: Path, below: Path, kind: str = "qcow2") -> None:
    process.run_sync("qemu-img", "create", "-q", "-f", "qcow2", "-u", "-b", str(below), "-F", kind, str(path), "64M")


class Simulated:
    """The guest's part is played here: it does what its command line says."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self._host = FakeHost()
        self.hypervisor: Hypervisor = FakeHypervisor(self._host)

    async def start(self, guest: GuestSpec, disks: Sequence[Disk] = ()) -> None:
        await self.hypervisor.ensure_running(guest, BootFiles(), disks, {})
        match guest.cmdline:
            case "do=firmware":
                self._host.keeps_disks.add(guest.instance_id)
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

    def make_disk(self, volume_id: str) -> Disk:
        paths = [Path("/fake") / volume_id / name for name in ("top", "own", "base")]
        return disk_of(volume_id, paths)

    def fresh_top(self, disk: Disk, name: str) -> DiskLayer:
        return top_at(disk.layers[0].path.with_name(name))

    def open_tap(self, name: str) -> int:
        return os.open(os.devnull, os.O_RDWR)

    async def replace_driver(self) -> None:
        self.hypervisor = FakeHypervisor(self._host)
        await self.hypervisor.open(self.told.append)

    async def kill_process(self, instance_id: str) -> None:
        self._host.crash(instance_id)

    async def destroy(self) -> None:
        await self.hypervisor.close()


class Real:
    """QEMU. Every guest has a disk of its own, unless it is given some. With ``do=firmware`` it has no system."""

    def __init__(self, root: Path) -> None:
        self.told: list[str] = []
        self._root = root
        self._boot_files = hypervisor_guest.boot_files()
        self._taps: Taps | None = None
        self.hypervisor: Hypervisor = QemuHypervisor(root)

    async def start(self, guest: GuestSpec, disks: Sequence[Disk] = ()) -> None:
        disks = disks or [self._disk(disk.volume_id, disk.serial) for disk in guest.disks]
        boot_files = BootFiles() if guest.cmdline == "do=firmware" else self._boot_files
        await self.hypervisor.ensure_running(guest, boot_files, disks, {})

    def make_disk(self, volume_id: str) -> Disk:
        directory = self._root / "chains" / volume_id
        directory.mkdir(parents=True)
        top, own, base = (directory / name for name in ("top", "own", "base"))
        process.run_sync("qemu-img", "create", "-q", "-f", "raw", str(base), "64M")
        overlay(own, base, "raw")
        overlay(top, own)
        return disk_of(volume_id, [top, own, base])

    def fresh_top(self, disk: Disk, name: str) -> DiskLayer:
        below = disk.layers[0].path
        path = below.with_name(name)
        overlay(path, below)
        return top_at(path)

    def open_tap(self, name: str) -> int:
        self._taps = self._taps or Taps()
        return self._taps.open(name)

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
        if self._taps is not None:
            self._taps.destroy()


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


def has(*volumes: str) -> Callable[[GuestState], bool]:
    return lambda state: state.volumes == tuple(sorted(volumes))


async def test_a_disk_comes_and_goes_while_the_guest_runs(host: Host) -> None:
    await host.start(spec(do="disks"), [host.make_disk("vol-1")])
    assert has("vol-1")(await look(host))
    await wait_for_text(b"READY", host)
    disk = host.make_disk("vol-2")
    host.told.clear()
    await host.hypervisor.plug("i-1", disk)
    assert has("vol-1", "vol-2")(await look(host))
    assert "i-1" in host.told
    changed = msgspec.structs.replace(disk, layers=(), iops=500, throughput=10 << 20, size=128 << 20)
    await host.hypervisor.plug("i-1", changed)
    assert has("vol-1", "vol-2")(await look(host))
    await host.hypervisor.unplug("i-1", "vol-2")
    await wait_until(has("vol-1"), host)
    await host.hypervisor.unplug("i-1", "vol-2")
    await host.hypervisor.unplug("i-1", "vol-3", force=True)
    await host.hypervisor.plug("i-1", disk)
    await wait_until(has("vol-1", "vol-2"), host)


async def test_a_guest_that_is_off_has_no_disks_and_nothing_is_done_with_them(host: Host) -> None:
    disk = host.make_disk("vol-1")
    await host.start(spec(), [disk])
    await host.hypervisor.cut_power("i-1")
    assert has()(await look(host))
    await host.hypervisor.plug("i-1", disk)
    await host.hypervisor.unplug("i-1", "vol-1")
    await host.hypervisor.freeze("i-1", {"vol-1": host.fresh_top(disk, "fresh")})
    await host.hypervisor.merge("i-1", "vol-1", disk.layers[0].path)
    await host.hypervisor.swap_base("i-1", "vol-1", disk.layers[-1])
    await host.hypervisor.plug("i-9", disk)
    assert has()(await look(host))
    await host.start(spec(boot=2), [disk])
    assert has("vol-1")(await look(host))


async def test_a_disk_is_torn_out_of_a_guest_that_does_not_let_go(host: Host) -> None:
    disk = host.make_disk("vol-2")
    await host.start(spec(do="firmware"), [host.make_disk("vol-1")])
    await host.start(spec("i-2"))
    await host.hypervisor.plug("i-1", disk)
    await host.hypervisor.unplug("i-1", "vol-2")
    assert has("vol-1", "vol-2")(await look(host))
    with pytest.raises(RetryableError):
        await host.hypervisor.plug("i-1", disk)
    with pytest.raises(RetryableError):
        await host.hypervisor.plug("i-2", disk)
    await host.hypervisor.unplug("i-1", "vol-2", force=True)
    assert has("vol-1")(await look(host))
    await host.hypervisor.plug("i-2", disk)
    assert "vol-2" in (await look(host, "i-2")).volumes
    await host.hypervisor.unplug("i-1", "vol-2", force=True)
    assert "vol-2" in (await look(host, "i-2")).volumes


async def test_two_guests_never_have_one_volume_however_its_layers_changed(host: Host) -> None:
    disk = host.make_disk("vol-1")
    await host.start(spec("i-1"), [disk])
    await host.start(spec("i-2"))
    top = host.fresh_top(disk, "fresh")
    await host.hypervisor.freeze("i-1", {"vol-1": top})
    frozen = msgspec.structs.replace(disk.layers[0], writable=False)
    changed = msgspec.structs.replace(disk, layers=(top, frozen, *disk.layers[1:]))
    for layers in (disk, changed):
        with pytest.raises(RetryableError):
            await host.hypervisor.plug("i-2", layers)
    await host.hypervisor.merge("i-1", "vol-1", frozen.path)
    merged = msgspec.structs.replace(disk, layers=(top, *disk.layers[1:]))
    with pytest.raises(RetryableError):
        await host.hypervisor.plug("i-2", merged)
    assert "vol-1" not in (await look(host, "i-2")).volumes
    await host.hypervisor.cut_power("i-1")
    await host.hypervisor.plug("i-2", merged)
    assert "vol-1" in (await look(host, "i-2")).volumes


async def test_layers_are_frozen_merged_and_swapped_and_all_of_it_can_be_repeated(host: Host) -> None:
    disks = {name: host.make_disk(name) for name in ("vol-1", "vol-2")}
    await host.start(spec(), list(disks.values()))
    tops = {name: host.fresh_top(disk, "fresh") for name, disk in disks.items()}
    with pytest.raises(PermanentError):
        await host.hypervisor.freeze("i-1", {**tops, "vol-3": tops["vol-1"]})
    for _ in range(2):
        await host.hypervisor.freeze("i-1", tops)
    await host.replace_driver()
    await host.hypervisor.freeze("i-1", tops)
    with pytest.raises(PermanentError):
        await host.hypervisor.merge("i-1", "vol-1", tops["vol-1"].path)
    frozen, own, base = disks["vol-1"].layers
    for _ in range(2):
        await host.hypervisor.merge("i-1", "vol-1", frozen.path)
    with pytest.raises(PermanentError):  # into the base, which others use
        await host.hypervisor.merge("i-1", "vol-1", own.path)
    other = host.make_disk("vol-9").layers[-1]
    for _ in range(2):
        await host.hypervisor.swap_base("i-1", "vol-1", other)
    await host.replace_driver()
    await host.hypervisor.swap_base("i-1", "vol-1", base)
    await host.hypervisor.merge("i-1", "vol-3", frozen.path)
    await host.hypervisor.swap_base("i-1", "vol-3", base)
    assert has("vol-1", "vol-2")(await look(host))


async def test_another_driver_sees_what_was_plugged(host: Host) -> None:
    await host.start(spec(do="disks"), [host.make_disk("vol-1")])
    await wait_for_text(b"READY", host)
    await host.hypervisor.plug("i-1", host.make_disk("vol-2"))
    await host.replace_driver()
    assert has("vol-1", "vol-2")(await look(host))
    await host.hypervisor.unplug("i-1", "vol-1")
    await wait_until(has("vol-2"), host)
    await host.replace_driver()
    assert has("vol-2")(await look(host))


NIC = NicSpec(interface_id="eni-1", mac="02:00:00:00:00:11", index=1)


def linked(*interfaces: str) -> Callable[[GuestState], bool]:
    return lambda state: state.interfaces == interfaces


async def plug_nic(host: Host, instance_id: str = "i-1") -> None:
    tap = host.open_tap("tap1")
    try:
        await host.hypervisor.plug_nic(instance_id, NIC, tap)
    finally:
        os.close(tap)


async def test_an_interface_comes_and_goes_while_the_guest_runs(host: Host) -> None:
    await host.start(spec(do="disks"))
    assert linked()(await look(host))
    await wait_for_text(b"READY", host)
    host.told.clear()
    await plug_nic(host)
    assert linked("eni-1")(await look(host))
    assert "i-1" in host.told
    await host.hypervisor.plug_nic("i-1", NIC, 0)  # it is there: nothing is done with the tap
    await host.replace_driver()
    assert linked("eni-1")(await look(host))
    await host.hypervisor.unplug_nic("i-1", "eni-1")
    await wait_until(linked(), host)
    await host.hypervisor.unplug_nic("i-1", "eni-1")
    await host.hypervisor.unplug_nic("i-1", "eni-9", force=True)
    await plug_nic(host)
    await wait_until(linked("eni-1"), host)
    await host.hypervisor.cut_power("i-1")
    assert linked()(await look(host))
    await plug_nic(host)
    await host.hypervisor.unplug_nic("i-1", "eni-1", force=True)
    assert linked()(await look(host))


async def test_an_interface_is_cut_from_a_guest_that_does_not_let_go(host: Host) -> None:
    await host.start(spec(do="firmware"))
    await plug_nic(host)
    await host.hypervisor.unplug_nic("i-1", "eni-1")
    assert linked("eni-1")(await look(host))
    with pytest.raises(RetryableError):
        await host.hypervisor.plug_nic("i-1", NIC, 0)
    await host.hypervisor.unplug_nic("i-1", "eni-1", force=True)
    assert linked()(await look(host))
    await host.replace_driver()
    assert linked()(await look(host))
    await host.start(spec("i-2", do="firmware"))
    await plug_nic(host, "i-2")
    await host.hypervisor.unplug_nic("i-1", "eni-1", force=True)
    assert linked("eni-1")(await look(host, "i-2"))
