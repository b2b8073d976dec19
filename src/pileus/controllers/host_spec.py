"""What a host must make so, computed from the records: the bridge between what owners see and what agents do."""

from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Literal

from pileus.base.config import Config
from pileus.controllers.conversions import host_conversions
from pileus.controllers.metadata_spec import metadata_spec
from pileus.controllers.network_spec import network_spec
from pileus.controllers.reading import Reading
from pileus.controllers.snapshot_spec import host_snapshots
from pileus.controllers.volume_spec import guest_disks, host_volumes, torn_out
from pileus.hostapi.spec import GuestSpec, HostSpec, NicSpec
from pileus.records import Instance, NetworkInterface
from pileus.records.instance import State
from pileus.scheduler.request import type_of, vcpus_of

STOP_TIMEOUT = 60.0
"""Seconds that a guest has for its own shutdown before its power is cut."""


def host_spec(view: Reading, host_id: str, config: Config, revision: int) -> HostSpec:
    """The whole spec of a host. Its parts are kept apart, so that a change costs what it touches."""
    return HostSpec(
        revision=revision,
        guests=view.part(f"guests/{host_id}", lambda view: _guests(view, host_id)),
        volumes=view.part(f"volumes/{host_id}", lambda view: host_volumes(view, host_id)),
        snapshots=view.part(f"snapshots/{host_id}", lambda view: host_snapshots(view, host_id)),
        conversions=view.part(f"conversions/{host_id}", lambda view: host_conversions(view, host_id)),
        network=network_spec(view, host_id, config),
    )


def _guests(view: Reading, host_id: str) -> tuple[GuestSpec, ...]:
    return tuple(
        view.part(f"guest/{instance.id}", lambda view, instance_id=instance.id: _guest(view, instance_id))
        for instance in view.list(Instance, host_id=host_id)
    )


def interfaces_of(view: Reading, instance: Instance) -> list[NetworkInterface]:
    """An instance's interfaces in the order of their device index."""
    interfaces = view.list(NetworkInterface, instance_id=instance.id)
    return sorted(interfaces, key=lambda one: one.device_index)


def _torn_out(interfaces: Iterable[NetworkInterface]) -> Iterator[str]:
    """The interfaces that leave a guest against its will."""
    for one in interfaces:
        if one.attachment is not None and one.attachment.status == "detaching" and one.attachment.forced:
            yield one.id


def _power(instance: Instance) -> Literal["on", "off", "cut", "gone"]:
    match instance.state:
        case State.PENDING | State.RUNNING:
            return "off" if instance.imaging else "on"
        case State.STOPPING | State.SHUTTING_DOWN:
            return "cut" if instance.force else "off"
        case State.STOPPED:
            return "off"
        case State.TERMINATED:
            return "gone"


def system_uuid(instance_id: str) -> str:
    """The SMBIOS uuid: begins with ``ec2``, as clients tell an EC2 guest by, and is the same at every boot."""
    digest = sha256(instance_id.encode()).hexdigest()
    return f"ec2{digest[:5]}-{digest[5:9]}-4{digest[9:12]}-a{digest[12:15]}-{digest[15:27]}"


def _guest(view: Reading, instance_id: str) -> GuestSpec:
    instance = view.get(Instance, instance_id)
    assert instance is not None, f"{instance_id} was just there"
    interfaces = interfaces_of(view, instance)
    return GuestSpec(
        instance_id=instance.id,
        boot=instance.boot,
        reset=instance.reset,
        power=_power(instance),
        uuid=system_uuid(instance.id),
        vcpus=vcpus_of(instance),
        memory=type_of(instance).memory_mib,
        image=instance.image_content,
        stop_timeout=STOP_TIMEOUT,
        disks=guest_disks(view, instance),
        torn_out=(*torn_out(view, instance), *_torn_out(interfaces)),
        wiring=instance.wiring,
        nics=tuple(
            NicSpec(interface_id=interface.id, mac=interface.mac, index=interface.device_index)
            for interface in interfaces
            if interface.attachment is not None and interface.attachment.status != "detaching"
        ),
        metadata=metadata_spec(view, instance, interfaces),
    )
