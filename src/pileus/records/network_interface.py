"""Network interfaces, and what follows for them from what hosts report.

An interface is fenced by its attachment as a volume is (see ``records.volume``): it goes to another instance only when the
guest was seen without it after its host knew that it should leave.
"""

from datetime import datetime
from ipaddress import IPv4Network
from typing import ClassVar, Literal

import msgspec
from msgspec.structs import replace

from pileus.records.instance import Instance, State
from pileus.records.tagged import Tagged


class InterfaceAttachment(msgspec.Struct, frozen=True, kw_only=True):
    """An interface in an instance; ``forced``: it leaves even if the guest does not let go of it.

    ``fence`` is the instance's ``wiring`` at the last change of what is wanted.
    """

    id: str
    instance_id: str
    device_index: int
    attached: datetime
    delete_on_termination: bool = True
    status: Literal["attaching", "attached", "detaching"] = "attached"
    forced: bool = False
    fence: int = 0


class PrivateAddress(msgspec.Struct, frozen=True, kw_only=True):
    """A private IPv4 address of an interface, and its public one.

    ``public`` is an address that EC2 gave (``address_id`` None: it is let go at stop) or an Elastic IP (``address_id`` its
    allocation). ``carrier``: the public one is a carrier's.
    """

    address: str
    public: str | None = None
    address_id: str | None = None
    association_id: str | None = None
    carrier: bool = False

    def bare(self) -> "PrivateAddress":
        """Without its public address."""
        return PrivateAddress(address=self.address)


class NetworkInterface(Tagged, frozen=True, kw_only=True):
    """An interface in a subnet.

    Attributes:
        addresses: private IPv4 addresses, the primary one first. ipv6_addresses: the same of IPv6.
        ipv4_prefixes, ipv6_prefixes: delegated CIDRs (/28 and /80).
        interface_type: ``interface``, ``nat_gateway``, ``vpc_endpoint``, … requester_id: who made one for its owner.
        auto_public: whether EC2 gives it a public address whenever its instance starts.
        primary_ipv6: whether its first IPv6 address can't be taken away.
    """

    kind: ClassVar[str] = "network-interface"
    indexes: ClassVar[tuple[str, ...]] = (
        "instance_id",
        "attachment_id",
        "subnet_id",
        "vpc_id",
        "groups",
        "private_addresses",
        "public_addresses",
    )
    touches: ClassVar[tuple[str, ...]] = ("instance_id",)

    subnet_id: str
    vpc_id: str
    zone: str
    mac: str
    addresses: tuple[PrivateAddress, ...]
    groups: tuple[str, ...]
    created: datetime
    description: str = ""
    source_dest_check: bool = True
    interface_type: str = "interface"
    requester_id: str | None = None
    attachment: InterfaceAttachment | None = None
    auto_public: bool = False
    ipv6_addresses: tuple[str, ...] = ()
    ipv4_prefixes: tuple[str, ...] = ()
    ipv6_prefixes: tuple[str, ...] = ()
    primary_ipv6: bool = False

    @property
    def instance_id(self) -> str | None:
        """The instance that it is attached to."""
        return self.attachment.instance_id if self.attachment else None

    @property
    def attachment_id(self) -> str | None:
        """The id of its attachment."""
        return self.attachment.id if self.attachment else None

    @property
    def status(self) -> str:
        """``available``, ``in-use`` or, on its way, ``attaching`` or ``detaching``."""
        if self.requester_id is not None:
            return "in-use"
        if self.attachment is None:
            return "available"
        return "in-use" if self.attachment.status == "attached" else self.attachment.status

    @property
    def device_index(self) -> int:
        """Its place in its instance; 0 while it has none."""
        return self.attachment.device_index if self.attachment else 0

    @property
    def primary(self) -> PrivateAddress:
        """Its primary IPv4 address."""
        return self.addresses[0]

    @property
    def private_address(self) -> str:
        """Its primary private IPv4 address."""
        return self.primary.address

    @property
    def public_address(self) -> str | None:
        """The public address of its primary private one."""
        return self.primary.public

    @property
    def private_addresses(self) -> tuple[str, ...]:
        """All its private addresses, IPv4 and IPv6."""
        return (*(one.address for one in self.addresses), *self.ipv6_addresses)

    @property
    def claimed(self) -> tuple[str, ...]:
        """What it claims in its subnet: its private addresses, and its prefixes (of IPv4 with every address in them)."""
        delegated = (str(address) for prefix in self.ipv4_prefixes for address in IPv4Network(prefix))
        return (*self.private_addresses, *self.ipv4_prefixes, *delegated, *self.ipv6_prefixes)

    @property
    def public_addresses(self) -> tuple[str, ...]:
        """All its public IPv4 addresses."""
        return tuple(one.public for one in self.addresses if one.public)

    def address(self, private: str) -> PrivateAddress:
        """What it has at this private IPv4 address. Raises KeyError: it does not have it."""
        for one in self.addresses:
            if one.address == private:
                return one
        raise KeyError(private)

    def with_address(self, changed: PrivateAddress) -> "NetworkInterface":
        """With this in place of the private address that it has already."""
        addresses = tuple(changed if one.address == changed.address else one for one in self.addresses)
        return replace(self, addresses=addresses)

    def public_owner(self, address: PrivateAddress) -> str | None:
        """Whose a public address is: the account's (an Elastic IP), ``amazon``'s (the pool's), None without one."""
        if address.public is None:
            return None
        return self.account if address.address_id else "amazon"


def held(instance: Instance, interface_id: str, fence: int) -> bool | None:
    """Whether an instance's guest has an interface; None while nobody can know.

    ``fence`` is the least ``wiring`` that an observation must be about to count.
    """
    if instance.state in {State.STOPPED, State.TERMINATED}:
        return False
    seen = instance.observed
    if seen is None or seen.boot != instance.boot or seen.wiring < fence:
        return None
    return interface_id in seen.interfaces


def settled(interface: NetworkInterface, instance: Instance | None) -> NetworkInterface:
    """The interface one step nearer to rest, given what was reported of its instance; the same one when it rests."""
    one = interface.attachment
    if one is None or instance is None:
        return interface
    has_it = held(instance, interface.id, one.fence)
    if one.status == "detaching" and has_it is False:
        return replace(interface, attachment=None)
    if one.status == "attaching" and (has_it or instance.state is State.STOPPED):
        return replace(interface, attachment=replace(one, status="attached"))
    return interface
