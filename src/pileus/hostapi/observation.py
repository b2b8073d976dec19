"""What a host says is so. Written by the agent, read by the controllers."""

from typing import Literal

from pileus.hostapi.network_spec import Spec

Phase = Literal["absent", "preparing", "running", "stopping", "off", "failed", "gone"]
Cause = Literal["", "asked", "guest-shutdown", "guest-panic", "crash", "watchdog", "host-restart"]


class GuestObservation(Spec, frozen=True, kw_only=True):
    """One guest as the agent sees it.

    ``boot`` and ``reset`` are those that the observation is about: a guest that does not run is said to be so at the
    boot that is asked for, which it may never have reached. ``phase``:
        absent: never started here, or nothing left but volumes; preparing: network, disks or process being made;
        running: QEMU runs the guest; stopping: asked to stop; off: no process, ``cause`` says why;
        failed: can't be made to run, ``detail`` says why (permanent for this boot); gone: removed as asked.
    ``volumes`` are those that its process holds open now, in any order; none while it is off. ``interfaces`` likewise.
    ``wiring`` is that of the spec in force when they were looked at: nothing that this spec does not list is on its way
    into the guest.
    ``impaired`` is true while the process is there but the guest is dead (panic, QMP silent).
    """

    instance_id: str
    boot: int
    phase: Phase
    reset: int = 0
    cause: Cause = ""
    detail: str = ""
    impaired: bool = False
    accelerator: str = ""
    volumes: tuple[str, ...] = ()
    interfaces: tuple[str, ...] = ()
    wiring: int = 0


class VolumeObservation(Spec, frozen=True, kw_only=True):
    """One volume on this host: ``gone`` is said once its data is removed.

    ``size`` is what a guest sees now, in bytes. ``filled`` is whether nothing of it must be fetched any more. A
    ``failed`` one says in ``detail`` why, beginning with an EC2 reason code where there is one (a key that is disabled).
    """

    volume_id: str
    phase: Literal["present", "failed", "gone"]
    size: int = 0
    filled: bool = True
    detail: str = ""


class SnapshotObservation(Spec, frozen=True, kw_only=True):
    """One snapshot on its way from this host into the block store.

    ``phase``: taken (its instant is over, its blocks are being uploaded, ``progress`` in percent); uploaded (all is in
    the block store under ``root``); failed (permanently: ``detail``; for example the volume is gone).
    ``uploaded_bytes`` is what had to be sent, ``full_bytes`` what the snapshot's allocated blocks have in all.
    """

    snapshot_id: str
    phase: Literal["taken", "uploaded", "failed"]
    progress: int = 0
    root: str | None = None
    uploaded_bytes: int = 0
    full_bytes: int = 0
    detail: str = ""


class ConversionObservation(Spec, frozen=True, kw_only=True):
    """A conversion on this host. ``done``: the result is in the block store under ``root``, and has ``size`` bytes.

    ``failed`` is permanent; ``detail`` is for its owner. ``step`` says what is being done.
    """

    task_id: str
    phase: Literal["working", "done", "failed"]
    progress: int = 0
    step: Literal["fetching", "converting", "storing"] = "fetching"
    root: str | None = None
    size: int = 0
    detail: str = ""


class HostInventory(Spec, frozen=True, kw_only=True):
    """What the host has: sent at hello and whenever it changes. ``memory`` MiB, ``disk`` GiB usable for guests.

    ``zones`` are those it serves; none means all.
    """

    host_id: str
    vcpus: int
    memory: int
    disk: int
    accelerator: str
    architecture: str = "x86_64"
    images: tuple[str, ...] = ()
    zones: tuple[str, ...] = ()


class FlowObservation(Spec, frozen=True, kw_only=True):
    """Packets of one flow that one interface sent or received in one minute, for flow logs.

    Addresses are the private ones that the interface knows; ``packet_source`` and ``packet_destination`` those that the
    packets had. ``protocol`` is IANA's number; ports are 0 where there are none. ``flags`` are TCP's, or-ed together.
    ``start`` and ``end`` are Unix seconds.
    """

    interface_id: str
    ingress: bool
    accepted: bool
    source: str
    destination: str
    source_port: int
    destination_port: int
    protocol: int
    packets: int
    bytes: int
    start: int
    end: int
    flags: int = 0
    packet_source: str = ""
    packet_destination: str = ""


class HostReport(Spec, frozen=True, kw_only=True, tag="report"):
    """What changed on a host, or everything: ``full`` means that what is not listed is not there.

    ``revision`` is that of the newest spec whose network was tried; ``network_ready`` says whether it is applied.
    ``flows`` are told once: a report that is lost loses them, as EC2 says of its flow logs ("best effort").
    """

    host_id: str
    revision: int
    guests: tuple[GuestObservation, ...] = ()
    volumes: tuple[VolumeObservation, ...] = ()
    snapshots: tuple[SnapshotObservation, ...] = ()
    conversions: tuple[ConversionObservation, ...] = ()
    flows: tuple[FlowObservation, ...] = ()
    network_ready: bool = True
    full: bool = False


class ConsoleRequest(Spec, frozen=True, kw_only=True, tag="console-request"):
    """Asks for a guest's serial output (its last 64 KiB) or a picture of its screen (PNG)."""

    request_id: int
    instance_id: str
    what: Literal["output", "screenshot"]


class ConsoleAnswer(Spec, frozen=True, kw_only=True, tag="console-answer"):
    """The bytes asked for; ``error`` instead where there are none."""

    request_id: int
    data: bytes = b""
    error: str = ""


class KeyRequest(Spec, frozen=True, kw_only=True, tag="key-request"):
    """The host asks for a data key that its spec names. It keeps it in memory, for as long as a process needs it."""

    request_id: int
    key_id: str


class KeyAnswer(Spec, frozen=True, kw_only=True, tag="key-answer"):
    """The key's bytes. ``error`` instead begins with an EC2 reason code, e.g. ``Client.InvalidKMSKey.InvalidState``;
    ``permanent`` says that asking again won't help until someone changes the key.
    """

    request_id: int
    key: bytes = b""
    error: str = ""
    permanent: bool = False
