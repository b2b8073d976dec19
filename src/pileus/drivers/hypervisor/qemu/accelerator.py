"""Whether KVM works here: by booting something under it, since ``/dev/kvm`` may open, answer, and still run no kernel.

Called by ``pileus.cmd`` before it makes a driver, and by ``pileus doctor``.

What is booted is the machine that guests get, confined as they are. Given a Linux kernel, it must come as far as looking
for its root file system: by then it has used paging, interrupts, timers and all processors. Without one, a boot sector
must print a letter, which says less: software KVMs have been seen that run it and hang in a kernel.
"""

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Literal

import msgspec

from pileus.base import process
from pileus.drivers.hypervisor.qemu import confinement
from pileus.drivers.hypervisor.qemu.command import machine
from pileus.drivers.hypervisor.qemu.home import host_boot_id

_TIME_LIMIT = 10.0
_KERNEL_SAYS = b"VFS: Unable to mount root fs"
_SECTOR_SAYS = b"P"

# mov dx, 0x3f8 (the first serial port); mov al, 'P'; out dx, al; hlt; jmp to the hlt. Then the mark of a boot sector.
_SECTOR = bytes.fromhex("baf803 b050 ee f4 ebfd").ljust(510, b"\0") + b"\x55\xaa"


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """``accelerator`` to use, and ``reason`` for people. ``key`` says on what machine this was found out."""

    accelerator: Literal["kvm", "tcg"]
    reason: str
    key: str


async def probe(
    state: Path,
    kernel: Path | None = None,
    *,
    uid: int = confinement.DEFAULT_UIDS[-1],
    binary: str = "qemu-system-x86_64",
    time_limit: float = _TIME_LIMIT,
) -> Verdict:
    """The accelerator that works. Takes up to ``time_limit`` seconds, once for each boot of the host, kernel and QEMU, and
    again when ``/dev/kvm`` was opened to guests or closed.

    Args:
        state: a file in which the verdict is kept.
        kernel: a Linux kernel that every user may read, for instance an image's.
        uid: a user id that nobody else has, for the trial.
    """

    async def try_kvm() -> tuple[bool, str]:
        if refusal is not None:
            return False, refusal
        return await boots("kvm", kernel, uid=uid, binary=binary, time_limit=time_limit)

    refusal = confinement.kvm_refusal()
    version = (await process.run(binary, "--version")).decode().splitlines()[0]
    key = f"{host_boot_id()} {version} {kernel} {'closed' if refusal else 'open'}"
    return await remembered(state, key, try_kvm)


async def remembered(state: Path, key: str, try_kvm: Callable[[], Awaitable[tuple[bool, str]]]) -> Verdict:
    """The verdict in ``state`` if it was found under the same ``key``, else a new one, which is kept there."""
    known = _load(state)
    if known is not None and known.key == key:
        return known
    works, reason = await try_kvm()
    verdict = Verdict(accelerator="kvm" if works else "tcg", reason=reason, key=key)
    _save(state, verdict)
    return verdict


def _load(state: Path) -> Verdict | None:
    try:
        return msgspec.json.decode(state.read_bytes(), type=Verdict)
    except (OSError, msgspec.DecodeError):
        return None


def _save(state: Path, verdict: Verdict) -> None:
    state.parent.mkdir(parents=True, exist_ok=True)
    fresh = state.with_suffix(".new")
    fresh.write_bytes(msgspec.json.encode(verdict))
    fresh.replace(state)


async def boots(
    accelerator: str,
    kernel: Path | None,
    *,
    uid: int = confinement.DEFAULT_UIDS[-1],
    binary: str = "qemu-system-x86_64",
    time_limit: float = _TIME_LIMIT,
) -> tuple[bool, str]:
    """Whether a guest runs under this accelerator, and how we know."""
    expected = _SECTOR_SAYS if kernel is None else _KERNEL_SAYS
    what = "a boot sector" if kernel is None else "a Linux kernel"
    payload = _sector() if kernel is None else os.open(kernel, os.O_RDONLY)
    try:
        trial = await asyncio.create_subprocess_exec(
            *confinement.confined(uid, accelerator),
            *(binary, *confinement.SANDBOX, *machine(accelerator), "-smp", "2", "-m", "256M", "-serial", "stdio"),
            *(_boot_disk(payload) if kernel is None else _boot_kernel(payload)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            pass_fds=(payload,),
        )
    finally:
        os.close(payload)
    assert trial.stdout is not None
    try:
        async with asyncio.timeout(time_limit):
            said = await _read_until(trial.stdout, expected)
    except TimeoutError:
        return False, f"under {accelerator} {what} did not boot in {time_limit:g} s"
    finally:
        with contextlib.suppress(ProcessLookupError):
            trial.kill()
        _, complaint = await trial.communicate()
    if expected in said:
        return True, f"under {accelerator} {what} boots"
    return False, f"under {accelerator} QEMU ended: {complaint.decode(errors='replace').strip()[-400:]}"


def _sector() -> int:
    sector = os.memfd_create("sector")
    os.pwrite(sector, _SECTOR, 0)
    return sector


def _boot_disk(disk: int) -> tuple[str, ...]:
    node = "driver=file,node-name=sector,filename=/dev/fdset/1,locking=off"
    return ("-add-fd", f"fd={disk},set=1", "-blockdev", node, "-device", "ide-hd,drive=sector")


def _boot_kernel(kernel: int) -> tuple[str, ...]:
    return ("-kernel", f"/dev/fd/{kernel}", "-append", "console=ttyS0 panic=0")


async def _read_until(stream: asyncio.StreamReader, expected: bytes) -> bytes:
    said = b""
    while expected not in said and (more := await stream.read(4096)):
        said += more
    return said
