"""A host that does what the agent's pure functions say, when it is told to: late, never, or all at once."""

from msgspec.structs import replace

from pileus.agent.decide import Trouble, describe, next_step
from pileus.drivers.hypervisor.interface import GuestState
from pileus.hostapi.observation import GuestObservation, HostReport, VolumeObservation
from pileus.hostapi.spec import GuestSpec, HostSpec


class ModelHost:
    """Guests and volumes of one host. ``said`` are all observations that it ever made, for repeating them late.

    ``keeps_disks`` are guests that do not let their disks and interfaces go when they are asked to.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.spec = HostSpec(revision=0)
        self.guests: dict[str, GuestState] = {}
        self.sizes: dict[str, int] = {}
        self.keeps_disks: set[str] = set()
        self.troubles: dict[str, Trouble] = {}
        self.fails_next = False
        self.said: list[GuestObservation] = []

    def take(self, spec: HostSpec) -> None:
        """The control plane's spec arrives; an older one is refused."""
        if spec.revision >= self.spec.revision:
            self.spec = spec

    def work(self) -> None:
        """One step for every volume and guest."""
        for volume in self.spec.volumes:
            if volume.state == "present":
                self.sizes[volume.volume_id] = volume.size
            elif not any(volume.volume_id in guest.volumes for guest in self.guests.values()):
                self.sizes.pop(volume.volume_id, None)
        for spec in self.spec.guests:
            id_ = spec.instance_id
            state = self.guests.get(id_)
            trouble = self.troubles.get(id_)
            match next_step(spec, state):
                case "start" if self.fails_next:
                    self.fails_next = False
                    self.troubles[id_] = Trouble(boot=spec.boot, detail="broken", permanent=True)
                case "start" if trouble is None or trouble.boot != spec.boot:
                    disks = tuple(disk.volume_id for disk in spec.disks)
                    nics = tuple(nic.interface_id for nic in spec.nics)
                    self.guests[id_] = GuestState(
                        instance_id=id_,
                        boot=spec.boot,
                        reset=spec.reset,
                        running=True,
                        volumes=disks,
                        interfaces=nics,
                    )
                case "reset":
                    self.guests[id_] = replace(state, reset=spec.reset, impaired=False)
                case "press" | "cut":
                    self.guests[id_] = replace(
                        state, running=False, impaired=False, cause="asked", volumes=(), interfaces=()
                    )
                case "remove":
                    del self.guests[id_]
                case "rest" if state is not None and state.running and state.boot == spec.boot and spec.power == "on":
                    self.guests[id_] = replace(
                        state,
                        volumes=self._after(spec, state.volumes, [disk.volume_id for disk in spec.disks]),
                        interfaces=self._after(spec, state.interfaces, [nic.interface_id for nic in spec.nics]),
                    )

    def _after(self, spec: GuestSpec, held: tuple[str, ...], wanted: list[str]) -> tuple[str, ...]:
        """What a running guest holds once it was asked to let go and to take."""
        stubborn = spec.instance_id in self.keeps_disks
        kept = [one for one in held if one in wanted or (stubborn and one not in spec.torn_out)]
        return (*kept, *(one for one in wanted if one not in kept))

    def turn_off(self, instance_id: str, cause: str) -> None:
        """A running guest ends by itself."""
        state = self.guests.get(instance_id)
        if state is not None and state.running:
            self.guests[instance_id] = replace(
                state, running=False, impaired=False, cause=cause, volumes=(), interfaces=()
            )

    def panic(self, instance_id: str) -> None:
        """A running guest runs on, dead."""
        state = self.guests.get(instance_id)
        if state is not None and state.running:
            self.guests[instance_id] = replace(state, impaired=True)

    def report(self) -> HostReport:
        """Everything, as it is."""
        specs = {spec.instance_id: spec for spec in self.spec.guests}
        seen = [
            describe(id_, specs.get(id_), self.guests.get(id_), self.troubles.get(id_))
            for id_ in (specs.keys() | self.guests.keys())
        ]
        self.said.extend(one for one in seen if one is not None)
        return HostReport(
            host_id=self.name,
            revision=self.spec.revision,
            guests=tuple(one for one in seen if one is not None),
            volumes=tuple(
                VolumeObservation(volume_id=one.volume_id, phase="present", size=self.sizes[one.volume_id])
                if one.volume_id in self.sizes
                else VolumeObservation(volume_id=one.volume_id, phase="gone")
                for one in self.spec.volumes
            ),
            full=True,
        )
