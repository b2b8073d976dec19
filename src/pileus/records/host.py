"""Hosts: where instances run, and how much of each is promised."""

from typing import ClassVar, Literal

from pileus.base.record import Record


class Host(Record, frozen=True, kw_only=True):
    """A machine with an agent. Belongs to the operator: its account is empty, and so is its region.

    ``zones`` are those it serves; none named means all.
    ``vcpus``, ``memory`` (MiB) and ``disk`` (GiB, None: nobody knows) may be promised to instances; ``used_*`` is what is
    promised now, changed in the same transaction as the instance that holds it. Disk is promised to instance stores;
    volumes take what is written to them.
    """

    kind: ClassVar[str] = "host"

    vcpus: int
    memory: int
    disk: int | None = None
    zones: tuple[str, ...] = ()
    used_vcpus: int = 0
    used_memory: int = 0
    used_disk: int = 0
    state: Literal["up", "lost", "draining"] = "up"
    accelerator: str = ""
    architecture: str = "x86_64"
    images: tuple[str, ...] = ()
