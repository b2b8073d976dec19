"""How long a verdict on KVM is believed. What is booted is shown by the conformance tests."""

from pathlib import Path

from pileus.drivers.hypervisor.qemu import confinement
from pileus.drivers.hypervisor.qemu.accelerator import remembered


async def test_kvm_is_tried_once_on_one_machine(tmp_path: Path) -> None:
    tried: list[str] = []

    async def works() -> tuple[bool, str]:
        tried.append("")
        return True, "it boots"

    async def fails() -> tuple[bool, str]:
        tried.append("")
        return False, "it hangs"

    state = tmp_path / "deep" / "accelerator"
    assert (await remembered(state, "a", works)).accelerator == "kvm"
    assert (await remembered(state, "a", fails)).accelerator == "kvm"
    assert len(tried) == 1
    verdict = await remembered(state, "b", fails)
    assert (verdict.accelerator, verdict.reason) == ("tcg", "it hangs")
    state.write_text("damaged")
    assert (await remembered(state, "b", works)).accelerator == "kvm"
    assert len(tried) == 3


def test_uids_are_given_out_from_the_bottom_and_once() -> None:
    assert confinement.free_uid(range(10, 13), {10, 12}) == 11


def test_everything_is_given_up_before_qemu_starts() -> None:
    words = confinement.confined(1234, "tcg")
    assert {"--reuid=1234", "--regid=1234", "--clear-groups", "--bounding-set=-all", "--no-new-privs"} <= set(words)
