"""The ``meta-data`` tree of one instance, a pure function of its spec.

Source of names and contents: "Instance metadata categories" in the EC2 user guide. A category that has nothing to say is
neither listed nor found, and everything that is listed is found: clients crawl the tree.
"""

from collections.abc import Callable, Mapping

import msgspec

from pileus.hostapi.spec import MetadataInterface, MetadataSpec


class Directory(msgspec.Struct, frozen=True):
    """Entries by name. ``listing`` replaces the usual one: a name a line, a slash behind those of directories."""

    entries: "Mapping[str, Node]"
    listing: str | None = None

    def text(self) -> str:
        """What a client reads that asks for the directory itself."""
        if self.listing is not None:
            return self.listing
        names = (f"{name}/" if isinstance(node, Directory) else name for name, node in self.entries.items())
        return "\n".join(sorted(names))


# A function is for what is costly to make and seldom read.
Node = str | bytes | Callable[[], bytes] | Directory


def find(directory: Directory, path: tuple[str, ...]) -> bytes | None:
    """The content at a path: a leaf's own, or a directory's listing; None when there is no such thing."""
    node: Node | None = directory
    for name in path:
        node = node.entries.get(name) if isinstance(node, Directory) else None
    match node:
        case None:
            return None
        case bytes():
            return node
        case str():
            return node.encode()
        case Directory():
            return node.text().encode()
        case _:
            return node()


def meta_data(guest: MetadataSpec) -> Directory:
    """Everything below ``/latest/meta-data/``."""
    primary = next((interface for interface in guest.interfaces if interface.index == 0), None)
    entries: dict[str, Node] = {
        "ami-id": guest.image_id,
        "ami-launch-index": str(guest.launch_index),
        "ami-manifest-path": "(unknown)",
        "block-device-mapping": Directory(dict(guest.block_devices)),
        "events": Directory({"maintenance": Directory({"history": "[]", "scheduled": "[]"})}),
        "hostname": guest.local_hostname,
        "instance-action": "none",
        "instance-id": guest.instance_id,
        "instance-life-cycle": guest.life_cycle,
        "instance-type": guest.instance_type,
        "local-hostname": guest.local_hostname,
        "metrics": Directory({"vhostmd": '<?xml version="1.0" encoding="UTF-8"?>'}),
        "placement": Directory(
            {"availability-zone": guest.zone, "availability-zone-id": guest.zone_id, "region": guest.region}
        ),
        "profile": "default-hvm",
        "reservation-id": guest.reservation_id,
        "security-groups": "\n".join(guest.security_groups),
        "services": Directory({"domain": guest.domain, "partition": guest.partition}),
        "system": "nitro",
    }
    if primary is not None:
        entries["mac"] = primary.mac
        entries["local-ipv4"] = primary.private_addresses[0]
        macs = Directory({interface.mac: _interface(interface) for interface in guest.interfaces})
        entries["network"] = Directory({"interfaces": Directory({"macs": macs})})
        entries |= _public_names(primary, "public-ipv4")
    if guest.public_keys:
        entries["public-keys"] = _public_keys(guest.public_keys)
    if guest.tags is not None:
        # EC2 refuses keys with a slash when tags are shown here; one that came another way could not be reached.
        shown = {key: value for key, value in guest.tags if key and "/" not in key}
        entries["tags"] = Directory({"instance": Directory(shown)})
    return Directory(entries)


def _public_keys(keys: tuple[tuple[str, str], ...]) -> Directory:
    """Listed as ``0=name``, but found as ``0/openssh-key``."""
    return Directory(
        {str(number): Directory({"openssh-key": line}) for number, (_, line) in enumerate(keys)},
        listing="\n".join(f"{number}={name}" for number, (name, _) in enumerate(keys)),
    )


def _interface(interface: MetadataInterface) -> Directory:
    entries: dict[str, Node] = {
        "device-number": str(interface.index),
        "interface-id": interface.interface_id,
        "local-hostname": interface.local_hostname,
        "local-ipv4s": "\n".join(interface.private_addresses),
        "mac": interface.mac,
        "owner-id": interface.owner_id,
        "security-group-ids": "\n".join(interface.security_group_ids),
        "security-groups": "\n".join(interface.security_groups),
        "subnet-id": interface.subnet_id,
        "subnet-ipv4-cidr-block": interface.subnet_cidr,
        "vpc-id": interface.vpc_id,
        "vpc-ipv4-cidr-block": interface.vpc_cidrs[0],
        "vpc-ipv4-cidr-blocks": "\n".join(interface.vpc_cidrs),
    }
    if interface.public_address is not None:
        entries["ipv4-associations"] = Directory({interface.public_address: interface.private_addresses[0]})
    return Directory(entries | _public_names(interface, "public-ipv4s"))


def _public_names(interface: MetadataInterface, address_key: str) -> dict[str, Node]:
    names: dict[str, Node] = {}
    if interface.public_address is not None:
        names[address_key] = interface.public_address
    if interface.public_hostname is not None:
        names["public-hostname"] = interface.public_hostname
    return names
