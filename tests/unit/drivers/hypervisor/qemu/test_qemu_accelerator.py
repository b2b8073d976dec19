"""How long a verdict on KVM is believed. What is booted is shown by the conformance tests."""

import os
import stat
from pathlib import Path

import pytest

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


@pytest.mark.parametrize(
    ("mode", "group", "is_open", "option"),
    [
        (0o660, 108, True, "--groups=108"),  # as Debian has it, with the group kvm
        (0o666, 108, True, "--groups=108"),
        (0o666, 0, True, "--clear-groups"),
        (0o660, 0, False, "--clear-groups"),  # the group root is never given
        (0o600, 0, False, "--clear-groups"),
    ],
)
def test_a_guest_gets_the_group_of_kvm_and_no_other(
    mode: int, group: int, is_open: bool, option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Device:
        def stat(self) -> os.stat_result:
            return os.stat_result((stat.S_IFCHR | mode, 0, 0, 1, 0, group, 0, 0, 0, 0))

    monkeypatch.setattr(confinement, "KVM", Device())
    assert (confinement.kvm_refusal() is None) == is_open
    assert option in confinement.confined(1234, "kvm")
    assert "--clear-groups" in confinement.confined(1234, "tcg")


def test_without_kvm_there_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confinement, "KVM", tmp_path / "kvm")
    assert confinement.kvm_refusal() == "there is no /dev/kvm"
