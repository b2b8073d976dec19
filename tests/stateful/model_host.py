"""A host that does what the agent's pure functions say, when it is told to: late, never, or all at once."""

from msgspec.structs import replace

from pileus.agent.decide import Trouble, describe, next_step
from pileus.drivers.hypervisor.interface import GuestState
from pileus.hostapi.observation import GuestObservation, HostReport, VolumeObservation
from pileus.hostapi.spec import HostSpec


class ModelHost:
    """Guests and volumes of one host. ``said`` are all observations that it ever made, for repeating them late."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.spec = HostSpec(revision=0)
        self.guests: dict[str, GuestState] = {}
        self.volumes: set[str] = set()
        self.troubles: dict[str, Trouble] = {}
        self.fails_next = False
        self.said: list[GuestObservation] = []

    def take(self, spec: HostSpec) -> None:
        """The control plane's spec arrives; an older one is refused."""
        if spec.revision >= self.spec.revision:
            self.spec = spec

    def work(self) -> None:
        """One step for every guest and volume."""
        for spec in self.spec.guests:
            id_ = spec.instance_id
            state = self.guests.get(id_)
            trouble = self.troubles.get(id_)
            match next_step(spec, state):
                case "start" if self.fails_next:
                    self.fails_next = False
                    self.troubles[id_] = Trouble(boot=spec.boot, detail="broken", permanent=True)
                case "start" if trouble is None or trouble.boot != spec.boot:
                    self.guests[id_] = GuestState(instance_id=id_, boot=spec.boot, reset=spec.reset, running=True)
                case "reset":
                    self.guests[id_] = replace(state, reset=spec.reset, impaired=False)
                case "press" | "cut":
                    self.guests[id_] = replace(state, running=False, impaired=False, cause="asked")
                case "remove":
                    del self.guests[id_]
        for volume in self.spec.volumes:
            if volume.state == "present":
                self.volumes.add(volume.volume_id)
            else:
                self.volumes.discard(volume.volume_id)

    def turn_off(self, instance_id: str, cause: str) -> None:
        """A running guest ends by itself."""
        state = self.guests.get(instance_id)
        if state is not None and state.running:
            self.guests[instance_id] = replace(state, running=False, impaired=False, cause=cause)

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
                VolumeObservation(volume_id=one.volume_id, phase="present" if one.volume_id in self.volumes else "gone")
                for one in self.spec.volumes
            ),
            full=True,
        )
