"""Instances: their one public state, the legal transitions, and what should happen next.

The API raises ``boot`` or ``reset`` or moves the state towards stopped or terminated; hosts report; ``decide`` says what
follows. See https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-lifecycle.html for the states.
"""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import ClassVar, Literal

import msgspec
from msgspec.structs import replace

from pileus.records.tagged import Tagged

TERMINATED_VISIBLE = timedelta(hours=1)
"""How long a terminated instance stays in answers, as on EC2."""

CRASHES_BEFORE_STOP = 5
"""Restarts after crashes within one start; then the instance is stopped, for its owner to look at."""


class State(StrEnum):
    """The instance states of the EC2 API."""

    PENDING = "pending"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    SHUTTING_DOWN = "shutting-down"
    TERMINATED = "terminated"


CODES: Mapping[State, int] = {
    State.PENDING: 0,
    State.RUNNING: 16,
    State.SHUTTING_DOWN: 32,
    State.TERMINATED: 48,
    State.STOPPING: 64,
    State.STOPPED: 80,
}
"""The numeric codes of the API."""

TRANSITIONS: Mapping[State, frozenset[State]] = {
    State.PENDING: frozenset({State.RUNNING, State.STOPPING, State.STOPPED, State.SHUTTING_DOWN}),
    State.RUNNING: frozenset({State.STOPPING, State.SHUTTING_DOWN}),
    State.STOPPING: frozenset({State.STOPPED, State.SHUTTING_DOWN}),
    State.STOPPED: frozenset({State.PENDING, State.SHUTTING_DOWN}),
    State.SHUTTING_DOWN: frozenset({State.TERMINATED}),
    State.TERMINATED: frozenset(),
}
"""Which state may follow which."""


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """The last report of the instance's host. Fields as in ``hostapi.observation.GuestObservation``."""

    boot: int
    reset: int
    phase: str
    cause: str = ""
    detail: str = ""
    impaired: bool = False
    volumes: tuple[str, ...] = ()
    interfaces: tuple[str, ...] = ()
    wiring: int = 0
    since: datetime


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """Why the state changed last, e.g. ``Client.UserInitiatedShutdown``."""

    code: str
    message: str


class BlockDevice(msgspec.Struct, frozen=True, kw_only=True):
    """A volume under the name that the API knows it by. ``index`` is its place in the guest, 0 the one that boots."""

    device_name: str
    volume_id: str
    attached: datetime
    delete_on_termination: bool
    index: int


class StoreDisk(msgspec.Struct, frozen=True, kw_only=True):
    """A disk of the instance store: ``size`` bytes, called ``ephemeralN``, at ``index`` in the guest.

    ``device_name`` is None where the type maps its disks by itself (NVMe), outside of the mappings of the API.
    """

    number: int
    size: int
    index: int
    device_name: str | None = None

    @property
    def virtual_name(self) -> str:
        """As mappings and the metadata service call it."""
        return f"ephemeral{self.number}"


class MetadataOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Who may read the metadata service, and how."""

    tokens: Literal["optional", "required"] = "optional"
    hop_limit: int = 1
    endpoint: Literal["enabled", "disabled"] = "enabled"
    ipv6: Literal["enabled", "disabled"] = "disabled"
    tags: Literal["enabled", "disabled"] = "disabled"


class Instance(Tagged, frozen=True, kw_only=True):
    """A virtual machine as its owner knows it.

    ``boot`` counts launches and starts, ``reset`` reboots. ``force`` is true while a stop skips the guest's own shutdown.
    ``host_id`` is the host that has its volumes and its guest, from the launch until the guest is removed; ``promised``
    is true while processors and memory of that host are held for it. ``user_data`` is base64. ``image_content`` is the
    content id whose manifest says how it boots, None: by the firmware. ``imaging`` is the image that it is down for,
    though it counts as running. ``wiring`` counts the changes of what disks and interfaces it shall have: see
    ``records.volume``.
    ``store`` are the disks of its instance store, ``store_names`` the device names asked for them, by
    their numbers. What ``store_epoch`` numbers is wiped at every stop: ``wiping`` are the volume ids that its host has yet
    to remove.
    """

    kind: ClassVar[str] = "instance"
    indexes: ClassVar[tuple[str, ...]] = (
        "reservation_id",
        "host_id",
        "vpc_id",
        "subnet_id",
        "client_token",
        "key_name",
    )

    reservation_id: str
    launch_index: int
    image_id: str
    image_content: str | None
    image_user: str
    instance_type: str
    vpc_id: str
    subnet_id: str
    zone: str
    zone_id: str
    launched: datetime
    state: State = State.PENDING
    architecture: str = "x86_64"
    root_device_name: str = "/dev/xvda"
    boot_mode: str = "legacy-bios"
    key_name: str | None = None
    public_key: str | None = None
    user_data: str | None = None
    client_token: str | None = None
    block_devices: tuple[BlockDevice, ...] = ()
    wiring: int = 0
    store: tuple[StoreDisk, ...] = ()
    store_names: tuple[tuple[int, str], ...] = ()
    store_epoch: int = 1
    wiping: tuple[str, ...] = ()
    metadata: MetadataOptions = MetadataOptions()
    shutdown_behavior: Literal["stop", "terminate"] = "stop"
    disable_api_termination: bool = False
    disable_api_stop: bool = False
    ebs_optimized: bool = False
    monitoring: bool = False
    cpu_credits: str | None = None
    tenancy: str = "default"
    auto_recovery: Literal["default", "disabled"] = "default"
    hostname_type: str = "ip-name"
    resource_name_dns_a: bool = False
    resource_name_dns_aaaa: bool = False
    core_count: int | None = None
    threads_per_core: int | None = None
    boot: int = 1
    reset: int = 0
    force: bool = False
    imaging: str | None = None
    crashes: int = 0
    host_id: str | None = None
    promised: bool = False
    observed: Observed | None = None
    reason: Reason | None = None
    transition: str = ""
    ended: datetime | None = None
    console_kept: bool = False

    @property
    def live(self) -> bool:
        """Whether it can still come to run."""
        return self.state not in {State.SHUTTING_DOWN, State.TERMINATED}

    @property
    def free_index(self) -> int:
        """The first place in the guest, beside the one that boots, that no disk has."""
        taken = {one.index for one in self.block_devices} | {one.index for one in self.store}
        return next(index for index in range(1, len(taken) + 2) if index not in taken)

    @property
    def store_volumes(self) -> tuple[tuple[str, StoreDisk], ...]:
        """The disks of the instance store with their volume ids; hosts know them by these alone."""
        digits = self.id.removeprefix("i-")
        return tuple((f"store-{digits}-{self.store_epoch}-{disk.number}", disk) for disk in self.store)

    def wiped(self) -> "Instance":
        """The instance with its store thrown away: what it has next time is new."""
        if not self.store:
            return self
        old = tuple(volume_id for volume_id, _ in self.store_volumes)
        return replace(self, wiping=(*self.wiping, *old), store_epoch=self.store_epoch + 1)


def store_owner(volume_id: str) -> str | None:
    """The instance of a volume of an instance store; None for any other volume."""
    found = _STORE_VOLUME.fullmatch(volume_id)
    return f"i-{found[1]}" if found else None


class Enter(msgspec.Struct, frozen=True, kw_only=True):
    """Go to another state."""

    state: State
    reason: Reason | None = None


class Relaunch(msgspec.Struct, frozen=True, kw_only=True):
    """Start the guest anew on its host: it died without anybody asking for it (EC2's automatic recovery)."""

    cause: str


class KeepConsole(msgspec.Struct, frozen=True, kw_only=True):
    """Fetch the console's output before the host removes the guest."""


class LetGo(msgspec.Struct, frozen=True, kw_only=True):
    """The host has removed the guest: nothing holds it any more."""


class Forget(msgspec.Struct, frozen=True, kw_only=True):
    """It has been visible for long enough after its end."""


Decision = Enter | Relaunch | KeepConsole | LetGo | Forget | None

DEAD = frozenset({"off", "absent", "failed", "gone"})
"""Phases of a guest without a process."""

_INTERNAL = Reason(code="Server.InternalError", message="Server.InternalError: Internal error on launch")
_REASON = re.compile(r"\b(?P<code>(?:Client|Server)\.[A-Za-z]+(?:\.[A-Za-z]+)*)(?:: *(?P<message>.*))?")
_CLIENT_ERROR = "Client error on launch"
_STORE_VOLUME = re.compile(r"store-([0-9a-f]+)-[0-9]+-[0-9]+")
_BY_GUEST = Reason(
    code="Client.InstanceInitiatedShutdown", message="Client.InstanceInitiatedShutdown: Instance initiated shutdown"
)


def decide(instance: Instance, now: datetime) -> Decision:
    """What should happen next to an instance, given what its host reported last. Total, pure, and stable:
    None means that nothing is to be done until something changes or, for a terminated one, time passes.
    """
    seen = instance.observed if instance.observed and instance.observed.boot == instance.boot else None
    match instance.state:
        case State.PENDING | State.RUNNING:
            return _decide_alive(instance, seen)
        case State.STOPPING:
            return Enter(state=State.STOPPED) if seen and seen.phase in DEAD else None
        case State.SHUTTING_DOWN:
            if instance.host_id is not None and not (seen and seen.phase in DEAD):
                return None
            return Enter(state=State.TERMINATED) if instance.console_kept or instance.host_id is None else KeepConsole()
        case State.TERMINATED:
            if instance.host_id is not None:
                return LetGo() if seen and seen.phase == "gone" and not instance.wiping else None
            return Forget() if instance.ended and now - instance.ended >= TERMINATED_VISIBLE else None
        case State.STOPPED:
            return None


def _decide_alive(instance: Instance, seen: Observed | None) -> Decision:
    if seen is None:
        return None
    if instance.imaging is not None and seen.phase in DEAD:
        return None  # its image has it started again
    if seen.phase == "running":
        return Enter(state=State.RUNNING) if instance.state is State.PENDING else None
    if seen.phase == "failed":
        at_launch = instance.boot == 1 and instance.state is State.PENDING
        return Enter(state=State.SHUTTING_DOWN if at_launch else State.STOPPING, reason=_why_failed(seen.detail))
    if seen.phase == "off" and seen.cause == "guest-shutdown":
        ending = State.STOPPING if instance.shutdown_behavior == "stop" else State.SHUTTING_DOWN
        return Enter(state=ending, reason=_BY_GUEST)
    if seen.phase == "off" or (seen.phase == "absent" and instance.state is State.RUNNING):
        if instance.crashes >= CRASHES_BEFORE_STOP or instance.auto_recovery == "disabled":
            return Enter(state=State.STOPPING, reason=_INTERNAL)
        return Relaunch(cause=seen.cause or "crash")
    return None


def _why_failed(detail: str) -> Reason:
    """Why a launch failed: the EC2 reason in what the host says, e.g. that a key is disabled, or an internal error."""
    found = _REASON.search(detail)
    if found is None:
        return _INTERNAL
    return Reason(code=found["code"], message=f"{found['code']}: {found['message'] or _CLIENT_ERROR}")


def store_serial(volume_id: str) -> str:
    """The serial of a disk of an instance store as its guest sees it, of the form that EC2's have: 20 characters."""
    return f"AWS{sha256(volume_id.encode()).hexdigest()[:17]}"


def check_transition(before: State, after: State) -> None:
    """Raises AssertionError on a step that the table does not allow: a programming error, never a client's."""
    if after is not before and after not in TRANSITIONS[before]:
        raise AssertionError(f"illegal instance transition {before} -> {after}")
