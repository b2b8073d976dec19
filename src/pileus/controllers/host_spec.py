"""What a host must make so, computed from the records: the bridge between what owners see and what agents do."""

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Literal

from pileus.base.config import Config
from pileus.controllers.conversions import host_conversions
from pileus.controllers.metadata_spec import metadata_spec
from pileus.controllers.reading import Reading
from pileus.controllers.snapshot_spec import host_snapshots
from pileus.controllers.volume_spec import guest_disks, host_volumes, torn_out
from pileus.hostapi.spec import (
    GroupSpec,
    GuestSpec,
    HostSpec,
    InterfaceSpec,
    NetworkSpec,
    NicSpec,
    RuleSpec,
    VpcSpec,
)
from pileus.records import Instance, NetworkInterface, RouteTable, SecurityGroup, Subnet, Vpc
from pileus.records.dns_names import private_domain, private_name, public_name_in
from pileus.records.instance import State
from pileus.records.security_group import SecurityGroupRule
from pileus.scheduler.request import type_of, vcpus_of

_NETWORKED = frozenset({State.PENDING, State.RUNNING, State.STOPPING, State.SHUTTING_DOWN})
STOP_TIMEOUT = 60.0
"""Seconds that a guest has for its own shutdown before its power is cut."""


def host_spec(view: Reading, host_id: str, config: Config, revision: int) -> HostSpec:
    """The whole spec of a host. Its parts are kept apart, so that a change costs what it touches."""
    pools = dict.fromkeys(cidr for region in config.regions for cidr in region.public_pool)
    return HostSpec(
        revision=revision,
        guests=view.part(f"guests/{host_id}", lambda view: _guests(view, host_id)),
        volumes=view.part(f"volumes/{host_id}", lambda view: host_volumes(view, host_id)),
        snapshots=view.part(f"snapshots/{host_id}", lambda view: host_snapshots(view, host_id)),
        conversions=view.part(f"conversions/{host_id}", lambda view: host_conversions(view, host_id)),
        network=NetworkSpec(pool=tuple(pools), vpcs=tuple(_vpcs(view, host_id))),
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
        torn_out=torn_out(view, instance),
        wiring=instance.wiring,
        nics=tuple(
            NicSpec(interface_id=interface.id, mac=interface.mac, index=index)
            for index, interface in enumerate(interfaces)
        ),
        metadata=metadata_spec(view, instance, interfaces),
    )


def _vpcs(view: Reading, host_id: str) -> Iterable[VpcSpec]:
    """The VPCs of the host's guests, with the interfaces that are here."""
    interfaces = view.part(f"interfaces/{host_id}", lambda view: _interfaces(view, host_id))
    for vpc_id, members in sorted(interfaces.items()):
        vpc = view.get(Vpc, vpc_id)
        assert vpc is not None, f"{members[0].interface_id} is in a VPC that is gone"
        yield VpcSpec(
            vpc_id=vpc.id,
            cidrs=tuple(cidr for _, cidr in vpc.cidrs),
            domain=private_domain(vpc.region),
            groups=tuple(_groups(view, members)),
            interfaces=members,
        )


def _interfaces(view: Reading, host_id: str) -> Mapping[str, tuple[InterfaceSpec, ...]]:
    """The interfaces of the host's guests by VPC."""
    by_vpc: dict[str, list[InterfaceSpec]] = {}
    for instance in view.list(Instance, host_id=host_id):
        if instance.state in _NETWORKED:
            for interface in interfaces_of(view, instance):
                spec = view.part(f"interface/{interface.id}", lambda view, id_=interface.id: _interface(view, id_))
                by_vpc.setdefault(interface.vpc_id, []).append(spec)
    return {vpc_id: tuple(sorted(specs, key=_interface_id)) for vpc_id, specs in by_vpc.items()}


def _interface_id(spec: InterfaceSpec) -> str:
    return spec.interface_id


def _groups(view: Reading, interfaces: Iterable[InterfaceSpec]) -> Iterable[GroupSpec]:
    """The groups of these interfaces with their rules, and those that the rules name with their members."""
    own = {group_id for interface in interfaces for group_id in interface.groups}
    groups = {group_id: view.get(SecurityGroup, group_id) for group_id in own}
    named = {peer for group in groups.values() if group for peer in group.referenced}
    for group_id in sorted(own | named):
        group = groups.get(group_id)
        rules = group.rules if group else ()
        yield GroupSpec(
            group_id=group_id,
            ingress=tuple(_rule(rule) for rule in rules if not rule.egress),
            egress=tuple(_rule(rule) for rule in rules if rule.egress),
            members=_members(view, group_id) if group_id in named else (),
        )


def _members(view: Reading, group_id: str) -> tuple[str, ...]:
    return view.part(f"members/{group_id}", lambda view: _addresses(view, group_id))


def _addresses(view: Reading, group_id: str) -> tuple[str, ...]:
    interfaces = view.list(NetworkInterface, groups=group_id)
    return tuple(sorted(interface.private_address for interface in interfaces if interface.attachment))


def _rule(rule: SecurityGroupRule) -> RuleSpec:
    return RuleSpec(
        protocol=rule.protocol,
        from_port=rule.from_port,
        to_port=rule.to_port,
        cidr=rule.cidr or rule.cidr6,
        group=rule.group_id,
    )


def _interface(view: Reading, interface_id: str) -> InterfaceSpec:
    interface = view.get(NetworkInterface, interface_id)
    assert interface is not None, f"{interface_id} was just there"
    vpc, subnet = view.get(Vpc, interface.vpc_id), view.get(Subnet, interface.subnet_id)
    assert vpc is not None, f"{interface.id} is in a VPC that is gone"
    assert subnet is not None, f"{interface.id} is in a subnet that is gone"
    name = private_name(vpc.region, interface.private_address)
    public = public_name_in(vpc, interface)
    names = [name] if vpc.dns_support else []
    if interface.instance_id and vpc.dns_support:
        names.append(f"{interface.instance_id}.{private_domain(vpc.region)}")
    return InterfaceSpec(
        interface_id=interface.id,
        mac=interface.mac,
        private_address=interface.private_address,
        subnet_cidr=subnet.cidr,
        groups=interface.groups,
        hostname=name.partition(".")[0],
        names=tuple(names),
        public_address=interface.public_address,
        public_names=(public,) if public and vpc.dns_support else (),
        source_dest_check=interface.source_dest_check,
        to_internet=view.part(f"internet/{subnet.id}", lambda view: reaches_internet(view, subnet)),
    )


def reaches_internet(view: Reading, subnet: Subnet) -> bool:
    """Whether the subnet's route table leads anywhere through an internet gateway."""
    tables: Mapping[str | None, RouteTable] = {
        association.subnet_id: table
        for table in view.list(RouteTable, vpc_id=subnet.vpc_id)
        for association in table.associations
    }
    table = tables.get(subnet.id) or tables.get(None)
    return table is not None and any(route.target.startswith("igw-") for route in table.routes)
