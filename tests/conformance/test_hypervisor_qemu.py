"""What the hypervisor ``qemu`` promises beyond the others: the machine, the confinement, and what a killed agent leaves."""

import asyncio
import hashlib
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import hypervisor_guest
import msgspec
import pytest
from hypervisor_taps import Taps

from pileus.base import process
from pileus.drivers.errors import PermanentError, RetryableError
from pileus.drivers.hypervisor.interface import BootFiles, Disk, DiskLayer, GuestState
from pileus.drivers.hypervisor.qemu import QemuHypervisor, accelerator
from pileus.drivers.hypervisor.qemu.cgroup import Cgroups
from pileus.drivers.hypervisor.qemu.confinement import DEFAULT_UIDS
from pileus.drivers.hypervisor.qemu.monitor import Monitor

pytestmark = [pytest.mark.vm, pytest.mark.root]

GIB = 1 << 30
spec = hypervisor_guest.guest_spec


@pytest.fixture
async def hypervisor(tmp_path: Path) -> AsyncIterator[QemuHypervisor]:
    hypervisor = QemuHypervisor(tmp_path, monitor_limit=2.0)
    try:
        await hypervisor.open(lambda _: None)
        yield hypervisor
    finally:
        await remove_all(hypervisor)


async def remove_all(hypervisor: QemuHypervisor) -> None:
    for guest in await hypervisor.observe():
        await hypervisor.remove(guest.instance_id)
    await hypervisor.close()


def a_disk(root: Path, name: str = "vol-i-1", index: int = 0, size: int = GIB) -> Disk:
    path = root / name
    if not path.exists():
        process.run_sync("qemu-img", "create", "-q", "-f", "qcow2", str(path), str(size))
    layer = DiskLayer(path=path, format="qcow2", writable=True)
    return Disk(volume_id=name, index=index, serial=f"serial{index}", layers=(layer,))


async def text_of(hypervisor: QemuHypervisor, text: bytes, instance_id: str = "i-1") -> bytes:
    async with asyncio.timeout(60):
        while text not in (output := await hypervisor.console_output(instance_id)):
            await asyncio.sleep(0.1)
        return output


async def wait_until(condition: Callable[[GuestState], bool], hypervisor: QemuHypervisor) -> GuestState:
    async with asyncio.timeout(60):
        while True:
            (state,) = await hypervisor.observe()
            if condition(state):
                return state
            await asyncio.sleep(0.05)


def pid_of(hypervisor: QemuHypervisor, instance_id: str = "i-1") -> int:
    pid = hypervisor.pid(instance_id)
    assert pid is not None
    return pid


def facts(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def processes_of(instance_id: str, root: Path) -> list[int]:
    """Every process that has the guest's lock file open, whoever started it."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                names = {link.readlink() for link in (entry / "fd").iterdir()}
            except OSError:
                continue
            if root / "guests" / instance_id / "lock" in names:
                found.append(int(entry.name))
    return found


async def test_the_guest_finds_the_machine_it_was_promised(hypervisor: QemuHypervisor, tmp_path: Path) -> None:
    guest = msgspec.structs.replace(spec(memory=256), vcpus=2)
    disks = [a_disk(tmp_path), a_disk(tmp_path, "vol-2", index=1, size=3 * GIB)]
    await hypervisor.ensure_running(guest, hypervisor_guest.boot_files(), disks, {})
    output = (await text_of(hypervisor, b"READY")).decode()
    assert "FOUND processors 2" in output
    assert "FOUND uuid ec2a1b2c-0000-4000-8000-000000000001" in output
    assert "FOUND serial ec2a1b2c-0000-4000-8000-000000000001" in output
    assert "FOUND vendor Amazon EC2" in output
    assert "FOUND asset i-1" in output
    assert f"FOUND disk vda {GIB} serial0" in output
    assert f"FOUND disk vdb {3 * GIB} serial1" in output
    (total,) = [int(line.split()[2]) for line in output.splitlines() if line.startswith("FOUND memory")]
    assert 180 * 1024 < total < 256 * 1024  # the kernel keeps some of the 256 MiB for itself


async def test_a_guest_has_no_rights_and_a_user_of_its_own(hypervisor: QemuHypervisor, tmp_path: Path) -> None:
    for name in ("i-1", "i-2"):
        await hypervisor.ensure_running(spec(name), BootFiles(), [a_disk(tmp_path, f"vol-{name}")], {})
    seen = [facts(pid_of(hypervisor, name)) for name in ("i-1", "i-2")]
    for status in seen:
        assert status["Seccomp"] == "2"
        assert status["NoNewPrivs"] == "1"
        assert not any(int(status[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb"))
        assert status["Groups"] == ""
        assert int(status["Uid"].split()[0]) in DEFAULT_UIDS
    assert len({status["Uid"] for status in seen}) == 2
    assert len({status["Gid"] for status in seen}) == 2


async def test_limits_hold_and_nothing_is_left_of_them(hypervisor: QemuHypervisor, tmp_path: Path) -> None:
    await hypervisor.ensure_running(spec(), BootFiles(), [a_disk(tmp_path)], {})
    pid = pid_of(hypervisor)
    directories = Cgroups().directories("i-1")
    assert directories or hypervisor.unlimited == ("memory", "cpu", "pids")
    for directory in directories:
        assert str(pid) in (directory / "cgroup.procs").read_text().split()
    names = ("memory.limit_in_bytes", "cpu.cfs_quota_us", "memory.max", "cpu.max", "pids.max")
    limits = {name: (directory / name).read_text().split()[0] for directory in directories for name in names
              if (directory / name).exists()}  # fmt: skip
    assert limits.pop("pids.max") == "129"
    assert sorted(limits.values()) == ["125000", str((128 + 384) << 20)]
    await hypervisor.remove("i-1")
    assert not any(directory.exists() for directory in directories)
    assert not list((tmp_path / "guests").iterdir())
    assert not Path(f"/proc/{pid}").exists()


async def test_two_guests_never_have_one_disk(hypervisor: QemuHypervisor, tmp_path: Path) -> None:
    disk = a_disk(tmp_path)
    await hypervisor.ensure_running(spec("i-1"), BootFiles(), [disk], {})
    with pytest.raises(RetryableError):
        await hypervisor.ensure_running(spec("i-2"), BootFiles(), [disk], {})
    assert [state.instance_id for state in await hypervisor.observe()] == ["i-1"]
    await hypervisor.cut_power("i-1")
    await hypervisor.ensure_running(spec("i-2"), BootFiles(), [disk], {})
    await hypervisor.remove("i-1")


async def test_what_can_not_start_says_why(hypervisor: QemuHypervisor, tmp_path: Path) -> None:
    disk = a_disk(tmp_path)
    disk.layers[0].path.write_bytes(b"rubbish")
    with pytest.raises(PermanentError, match="Image is not in qcow2 format"):
        await hypervisor.ensure_running(spec(), BootFiles(), [disk], {})
    disk.layers[0].path.unlink()
    with pytest.raises(PermanentError):
        await hypervisor.ensure_running(spec(), BootFiles(), [disk], {})
    private = tmp_path / "kernel"
    private.touch(mode=0o600)
    with pytest.raises(PermanentError, match="readable by everyone"):
        await hypervisor.ensure_running(spec(), BootFiles(kernel=private), [a_disk(tmp_path)], {})
    assert not await hypervisor.observe()
    assert not processes_of("i-1", tmp_path)
    await hypervisor.ensure_running(spec(), BootFiles(), [a_disk(tmp_path)], {})
    assert (await hypervisor.observe())[0].running


async def test_a_cancelled_start_is_finished_all_the_same(hypervisor: QemuHypervisor, tmp_path: Path) -> None:
    disk = a_disk(tmp_path)
    caller = asyncio.create_task(hypervisor.ensure_running(spec(), BootFiles(), [disk], {}))
    await asyncio.sleep(0.01)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await hypervisor.ensure_running(spec(), BootFiles(), [disk], {})
    assert processes_of("i-1", tmp_path) == [pid_of(hypervisor)]


async def test_a_guest_that_ignores_its_button_is_reset_at_the_limit(tmp_path: Path) -> None:
    hypervisor = QemuHypervisor(tmp_path, reset_limit=1.0)
    await hypervisor.open(lambda _: None)
    try:
        await hypervisor.ensure_running(spec(do="deaf"), hypervisor_guest.boot_files(), [a_disk(tmp_path)], {})
        await text_of(hypervisor, b"READY")
        await hypervisor.reset("i-1", 1)
        await wait_until(lambda state: state.reset == 1, hypervisor)
        async with asyncio.timeout(60):
            while (await hypervisor.console_output("i-1")).count(b"READY") < 2:
                await asyncio.sleep(0.1)
    finally:
        await remove_all(hypervisor)


async def test_a_reset_lets_the_guest_shut_down_first(hypervisor: QemuHypervisor, tmp_path: Path) -> None:
    await hypervisor.ensure_running(spec(), hypervisor_guest.boot_files(), [a_disk(tmp_path)], {})
    await text_of(hypervisor, b"READY")
    pid = pid_of(hypervisor)
    await hypervisor.reset("i-1", 1)
    await wait_until(lambda state: state.reset == 1, hypervisor)
    async with asyncio.timeout(60):
        while (await hypervisor.console_output("i-1")).count(b"READY") < 2:
            await asyncio.sleep(0.1)
    assert b"PRESSED" in await hypervisor.console_output("i-1")
    assert pid_of(hypervisor) == pid


async def test_the_button_is_pressed_until_the_guest_hears_it(tmp_path: Path) -> None:
    """It is pressed before the guest has a driver for it, and the agent is replaced meanwhile."""
    hypervisor = QemuHypervisor(tmp_path)
    await hypervisor.open(lambda _: None)
    try:
        await hypervisor.ensure_running(spec(), hypervisor_guest.boot_files(), [a_disk(tmp_path)], {})
        await hypervisor.press_power_button("i-1")
        await hypervisor.close()
        hypervisor = QemuHypervisor(tmp_path)
        await hypervisor.open(lambda _: None)
        assert (await wait_until(lambda state: not state.running, hypervisor)).cause == "asked"
        assert b"PRESSED" in await hypervisor.console_output("i-1")
    finally:
        await remove_all(hypervisor)


async def test_a_qemu_that_does_not_answer_is_impaired_until_it_does(
    hypervisor: QemuHypervisor, tmp_path: Path
) -> None:
    await hypervisor.ensure_running(spec(), BootFiles(), [a_disk(tmp_path)], {})
    os.kill(pid_of(hypervisor), signal.SIGSTOP)
    state = await wait_until(lambda state: state.impaired, hypervisor)
    assert state.running
    os.kill(pid_of(hypervisor), signal.SIGCONT)
    await wait_until(lambda state: not state.impaired, hypervisor)


@pytest.fixture
def taps() -> Iterator[Taps]:
    taps = Taps()
    try:
        yield taps
    finally:
        taps.destroy()


_ECHO = """
import hashlib, socket, threading
data = bytes(range(256)) * 4096
link = socket.create_connection(("10.9.0.2", 7), timeout=20)
threading.Thread(target=link.sendall, args=(data,)).start()
got = b""
while len(got) < len(data):
    got += link.recv(65536)
print(hashlib.sha256(got).hexdigest())
"""


async def test_tcp_passes_through_the_tap(hypervisor: QemuHypervisor, tmp_path: Path, taps: Taps) -> None:
    tap = taps.open("tap0", "10.9.0.1/24")
    guest = spec(do="serve", nic=True)
    await hypervisor.ensure_running(guest, hypervisor_guest.boot_files(), [a_disk(tmp_path)], {"eni-1": tap})
    os.close(tap)
    output = await text_of(hypervisor, b"SERVING")
    assert b"FOUND nic eth0 02:00:00:00:00:07" in output
    async with asyncio.timeout(60):
        while True:
            try:
                echoed = await taps.run(sys.executable, "-c", _ECHO)
                break
            except process.ProcessError:
                await asyncio.sleep(0.2)
    assert echoed.decode().strip() == hashlib.sha256(bytes(range(256)) * 4096).hexdigest()


# An agent in a process of its own, to be killed: it starts the guest again and again, with rising boot numbers, and cuts
# its power now and then. Arguments: root, first boot, "firmware" or what the guest shall do.
_AGENT = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[4])
import hypervisor_guest
from pileus.drivers.hypervisor.interface import BootFiles, Disk, DiskLayer
from pileus.drivers.hypervisor.qemu import QemuHypervisor

async def main():
    root, boot, do = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    layer = DiskLayer(path=root / "vol-i-1", format="qcow2", writable=True)
    disk = Disk(volume_id="vol-i-1", index=0, serial="serial0", layers=(layer,))
    hypervisor = QemuHypervisor(root)
    print("opening", flush=True)
    await hypervisor.open(lambda _: None)
    files = BootFiles() if do == "firmware" else hypervisor_guest.boot_files()
    while True:
        await hypervisor.ensure_running(hypervisor_guest.guest_spec(boot=boot, do=do), files, [disk], {})
        print("started", flush=True)
        if do != "firmware":
            await asyncio.sleep(3600)
        if boot % 2:
            await hypervisor.cut_power("i-1")
        boot += 1

asyncio.run(main())
"""


async def killed_agent(root: Path, boot: int, do: str, word: bytes, delay: float) -> None:
    """Runs an agent until it says ``word`` and ``delay`` seconds more, then kills it."""
    here = str(Path(__file__).parent)
    child = process.spawn(sys.executable, "-c", _AGENT, str(root), str(boot), do, here, stdout=-1)
    try:
        assert child.stdout is not None
        while await asyncio.to_thread(child.stdout.readline) != word + b"\n":
            assert child.poll() is None
        await asyncio.sleep(delay)
    finally:
        child.kill()
        child.communicate()


async def test_a_guest_outlives_a_killed_agent(tmp_path: Path) -> None:
    a_disk(tmp_path)
    await killed_agent(tmp_path, 1, "none", b"started", 0.0)
    (pid,) = processes_of("i-1", tmp_path)
    hypervisor = QemuHypervisor(tmp_path)
    await hypervisor.open(lambda _: None)
    try:
        assert hypervisor.pid("i-1") == pid
        assert [(state.boot, state.running) for state in await hypervisor.observe()] == [(1, True)]
        await text_of(hypervisor, b"READY")
        os.kill(pid, signal.SIGKILL)
        assert (await wait_until(lambda state: not state.running, hypervisor)).cause == "crash"
    finally:
        await remove_all(hypervisor)


async def test_what_a_guest_did_while_no_agent_was_there_is_known(tmp_path: Path) -> None:
    a_disk(tmp_path)
    await killed_agent(tmp_path, 1, "poweroff", b"started", 0.0)
    monitor = await Monitor.connect(tmp_path / "guests" / "i-1" / "monitor", 10.0, lambda _: None)
    async with asyncio.timeout(60):
        while await monitor.status() != "shutdown":
            await asyncio.sleep(0.1)
    await monitor.close()
    hypervisor = QemuHypervisor(tmp_path)
    await hypervisor.open(lambda _: None)
    try:
        (state,) = await hypervisor.observe()
        assert (state.running, state.cause) == (False, "guest-shutdown")
        assert b"FOUND vendor Amazon EC2" in await hypervisor.console_output("i-1")
        assert not processes_of("i-1", tmp_path)
    finally:
        await remove_all(hypervisor)


async def ensured(hypervisor: QemuHypervisor, boot: int, disk: Disk) -> None:
    """As the agent does it: again, while a process that the killed one was ending has not quite ended."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await hypervisor.ensure_running(spec(boot=boot), BootFiles(), [disk], {})
            except RetryableError:
                await asyncio.sleep(0.1)


@pytest.mark.slow
async def test_an_agent_killed_at_any_moment_leaves_what_the_next_repairs(tmp_path: Path) -> None:
    disk = a_disk(tmp_path)
    dice = random.Random(7)
    boot = 1
    hypervisor = QemuHypervisor(tmp_path)
    try:
        for _ in range(20):
            await killed_agent(tmp_path, boot, "firmware", b"opening", dice.uniform(0.0, 0.5))
            hypervisor = QemuHypervisor(tmp_path)
            await hypervisor.open(lambda _: None)
            running = processes_of("i-1", tmp_path)
            assert len(running) <= 1
            assert running == [pid for pid in [hypervisor.pid("i-1")] if pid is not None]
            for state in await hypervisor.observe():
                assert state.running == bool(running)
                assert state.running or state.cause == "asked"
            boot += 10_000
            await ensured(hypervisor, boot, disk)
            assert processes_of("i-1", tmp_path) == [pid_of(hypervisor)]
            assert [(state.boot, state.running) for state in await hypervisor.observe()] == [(boot, True)]
            boot += 1
            await hypervisor.close()
    finally:
        hypervisor = QemuHypervisor(tmp_path)
        await hypervisor.open(lambda _: None)
        await remove_all(hypervisor)
    assert not processes_of("i-1", tmp_path)
    assert not list((tmp_path / "guests").iterdir())


async def test_the_probe_boots_a_kernel_and_is_not_fooled() -> None:
    kernel = hypervisor_guest.boot_files().kernel
    assert kernel is not None
    assert (await accelerator.boots("tcg", kernel, time_limit=60.0))[0]
    assert (await accelerator.boots("tcg", None, time_limit=60.0))[0]
    works, reason = await accelerator.boots("tcg", kernel, time_limit=0.05)
    assert not works
    assert "did not boot" in reason
    nothing = kernel.with_name("config-" + kernel.name.removeprefix("vmlinuz-"))
    assert not (await accelerator.boots("tcg", nothing, time_limit=2.0))[0]
