"""Guests as QEMU processes, driven over QMP. The host needs QEMU 7.2 or newer and util-linux."""

from pileus.drivers.hypervisor.qemu.driver import QemuHypervisor

__all__ = ["QemuHypervisor"]
