"""What the metadata service tells an instance, computed from the records."""

from collections.abc import Sequence

from pileus.controllers.reading import Reading
from pileus.controllers.vpc_names import local_hostname
from pileus.hostapi.spec import MetadataInterface, MetadataSpec
from pileus.records import Instance, NetworkInterface, SecurityGroup, Subnet, Vpc
from pileus.records.dns_names import public_name_in
from pileus.records.instance import StoreDisk, store_serial


def metadata_spec(view: Reading, instance: Instance, interfaces: Sequence[NetworkInterface]) -> MetadataSpec:
    """The metadata of an instance with these interfaces, the primary one first."""
    options = instance.metadata
    drawn = tuple(_interface(view, interface) for interface in interfaces)
    hidden = options.tags == "disabled"
    return MetadataSpec(
        instance_id=instance.id,
        account=instance.account,
        region=instance.region,
        zone=instance.zone,
        zone_id=instance.zone_id,
        image_id=instance.image_id,
        instance_type=instance.instance_type,
        reservation_id=instance.reservation_id,
        launch_index=instance.launch_index,
        architecture=instance.architecture,
        pending_time=instance.launched.strftime("%Y-%m-%dT%H:%M:%SZ"),
        local_hostname=drawn[0].local_hostname if drawn else "",
        interfaces=drawn,
        security_groups=drawn[0].security_groups if drawn else (),
        public_keys=((instance.key_name, instance.public_key),) if instance.key_name and instance.public_key else (),
        user_data=instance.user_data,
        tags=None if hidden else tuple(instance.tags.items()),
        block_devices=_block_devices(instance),
        endpoint_enabled=options.endpoint == "enabled",
        tokens_required=options.tokens == "required",
        hop_limit=options.hop_limit,
    )


def _block_devices(instance: Instance) -> tuple[tuple[str, str], ...]:
    """``ami`` and ``root`` name the root device, ``ebsN`` the other volumes, ``ephemeralN`` the instance store's disks."""
    others = (device for device in instance.block_devices if device.device_name != instance.root_device_name)
    numbered = tuple((f"ebs{number}", device.device_name) for number, device in enumerate(others, 1))
    stores = tuple((disk.virtual_name, _store_name(volume_id, disk)) for volume_id, disk in instance.store_volumes)
    return (("ami", instance.root_device_name), ("root", instance.root_device_name), *stores, *numbered)


def _store_name(volume_id: str, disk: StoreDisk) -> str:
    """The device name that was asked for, or where the guest finds a disk that was mapped by itself, below ``/dev``."""
    return disk.device_name or f"disk/by-id/virtio-{store_serial(volume_id)}"


def _interface(view: Reading, interface: NetworkInterface) -> MetadataInterface:
    subnet = view.get(Subnet, interface.subnet_id)
    vpc = view.get(Vpc, interface.vpc_id)
    assert subnet is not None, f"{interface.id} is in a subnet that is gone"
    assert vpc is not None, f"{interface.id} is in a VPC that is gone"
    groups = [group for group_id in interface.groups if (group := view.get(SecurityGroup, group_id))]
    return MetadataInterface(
        mac=interface.mac,
        interface_id=interface.id,
        index=interface.device_index,
        subnet_id=subnet.id,
        subnet_cidr=subnet.cidr,
        vpc_id=vpc.id,
        vpc_cidrs=tuple(cidr for _, cidr in vpc.cidrs),
        owner_id=interface.account,
        private_addresses=tuple(one.address for one in interface.addresses),
        local_hostname=local_hostname(view, vpc, interface),
        public_addresses=tuple((one.public, one.address) for one in interface.addresses if one.public),
        public_hostname=public_name_in(vpc, interface) or None,
        subnet_ipv6_cidr=subnet.ipv6_block.cidr if subnet.ipv6_block and interface.ipv6_addresses else None,
        vpc_ipv6_cidrs=vpc.ipv6_cidrs if interface.ipv6_addresses else (),
        ipv6_addresses=interface.ipv6_addresses,
        ipv4_prefixes=interface.ipv4_prefixes,
        ipv6_prefixes=interface.ipv6_prefixes,
        security_groups=tuple(group.name for group in groups),
        security_group_ids=tuple(group.id for group in groups),
    )
