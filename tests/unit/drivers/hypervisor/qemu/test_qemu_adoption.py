"""What an opened driver makes of the records it finds, where no process is left."""

import os
from pathlib import Path

import pytest

from pileus.drivers.hypervisor.qemu import QemuHypervisor
from pileus.drivers.hypervisor.qemu.home import Home, Record, host_boot_id
from pileus.drivers.hypervisor.qemu.process import GuestProcess

ID = f"i-adopted-{os.getpid()}"  # its cgroup must be no other test's
ON = Record(instance_id=ID, uid=1000, boot=3, reset=2, power="on")


async def cause_after_open(root: Path, **facts: object) -> str:
    record = {**{name: getattr(ON, name) for name in ON.__struct_fields__}, **facts}
    await Home(root / "guests" / ID).save(Record(**record))
    hypervisor = QemuHypervisor(root)
    await hypervisor.open(lambda _: None)
    (state,) = await hypervisor.observe()
    assert (state.boot, state.reset, state.running, state.impaired) == (3, 2, False, False)
    await hypervisor.close()
    return state.cause


@pytest.mark.parametrize(
    ("facts", "cause"),
    [
        ({}, "crash"),
        ({"panicked": True, "resetting": 3}, "crash"),
        ({"asked": True}, "asked"),
        ({"power": "off", "cause": "guest-shutdown"}, "guest-shutdown"),
    ],
)
async def test_why_a_guest_is_gone(tmp_path: Path, facts: dict[str, object], cause: str) -> None:
    assert await cause_after_open(tmp_path, host_boot=host_boot_id(), **facts) == cause


async def test_a_guest_that_is_gone_after_the_host_came_back_went_with_the_host(tmp_path: Path) -> None:
    assert await cause_after_open(tmp_path, host_boot="another") == "host-restart"


async def test_what_was_found_out_is_found_again(tmp_path: Path) -> None:
    await cause_after_open(tmp_path, host_boot="another")
    hypervisor = QemuHypervisor(tmp_path)
    await hypervisor.open(lambda _: None)
    assert [state.cause for state in await hypervisor.observe()] == ["host-restart"]
    await hypervisor.remove(ID)
    assert not list((tmp_path / "guests").iterdir())
    await hypervisor.close()


async def test_a_process_that_is_not_meant_to_be_is_ended_and_its_guest_was_never_here(tmp_path: Path) -> None:
    """Killed after the fork, before the start was on record."""
    home = Home(tmp_path / "guests" / ID)
    await home.save(Record(instance_id=ID, uid=1000))
    lock = home.take_lock()
    half_started = GuestProcess.start(("sleep", "60"), [lock])
    os.close(lock)
    hypervisor = QemuHypervisor(tmp_path)
    await hypervisor.open(lambda _: None)
    assert not await hypervisor.observe()
    assert not home.is_locked()
    half_started.let_go()
    await hypervisor.close()
