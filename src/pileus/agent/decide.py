"""What to do next with a guest, and what to say of it: pure functions of what is wanted and what is there."""

from typing import Literal

import msgspec

from pileus.drivers.hypervisor.interface import GuestState
from pileus.hostapi.observation import GuestObservation, Phase
from pileus.hostapi.spec import GuestSpec

Step = Literal["rest", "start", "reset", "press", "cut", "remove"]

# Why a guest went off by itself. Whether it comes up again is for the control plane, which says so by a new boot.
# The other causes ("", "asked", "watchdog") are the agent's own doing or a launch that was cut short: those it finishes.
_OF_ITS_OWN = frozenset({"guest-shutdown", "guest-panic", "crash", "host-restart"})


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong with launching a guest at ``boot``; ``permanent`` when trying again would not help."""

    boot: int
    detail: str
    permanent: bool


def next_step(spec: GuestSpec | None, state: GuestState | None, stopping_for: float = 0.0) -> Step:
    """The one thing to do now.

    ``stopping_for`` are the seconds since this guest's power button was first pressed. Guests that nobody lists are left
    alone: only an explicit ``gone`` removes one.
    """
    if spec is None:
        return "rest"
    running = state is not None and state.running
    match spec.power:
        case "gone":
            return "rest" if state is None else "remove"
        case "cut":
            return "cut" if running else "rest"
        case "off":
            if not running:
                return "rest"
            return "press" if stopping_for < spec.stop_timeout else "cut"
        case "on":
            return _towards_on(spec, state)


def _towards_on(spec: GuestSpec, state: GuestState | None) -> Step:
    if state is None:
        return "start"
    if state.boot > spec.boot:
        return "rest"  # what runs is newer than what is asked for: a control plane restored from a backup
    if state.boot < spec.boot:
        return "cut" if state.running else "start"
    if state.running:
        return "reset" if state.reset < spec.reset else "rest"
    return "rest" if state.cause in _OF_ITS_OWN else "start"


def describe(
    instance_id: str,
    spec: GuestSpec | None,
    state: GuestState | None,
    trouble: Trouble | None = None,
    accelerator: str = "",
    wiring: int | None = None,
) -> GuestObservation | None:
    """What the control plane is told of a guest; None when there is nothing to tell.

    ``wiring`` is that which ``state`` is about; None: the spec's own.
    """
    if spec is None and state is None:
        return None
    phase, boot = _phase(spec, state), _boot(spec, state)
    detail = ""
    if phase == "preparing" and trouble is not None and trouble.boot == boot:
        phase, detail = ("failed" if trouble.permanent else "preparing"), trouble.detail
    of_boot = state if state is not None and state.boot == boot else None
    running = state is not None and state.running
    return GuestObservation(
        instance_id=instance_id,
        boot=boot,
        phase=phase,
        reset=of_boot.reset if of_boot else 0,
        cause=of_boot.cause if of_boot and phase == "off" else "",
        detail=detail,
        impaired=state.impaired if state is not None and running else False,
        accelerator=accelerator if running else "",
        volumes=state.volumes if state is not None and running else (),
        interfaces=state.interfaces if state is not None and running else (),
        wiring=(spec.wiring if spec is not None else 0) if wiring is None else wiring,
    )


def _phase(spec: GuestSpec | None, state: GuestState | None) -> Phase:
    if spec is not None and next_step(spec, state) == "start":
        return "preparing"
    if state is None:
        return "gone" if spec is not None and spec.power == "gone" else "absent"
    if not state.running:
        return "stopping" if spec is not None and spec.power == "gone" else "off"
    leaving = spec is not None and (spec.power != "on" or state.boot < spec.boot)
    return "stopping" if leaving else "running"


def _boot(spec: GuestSpec | None, state: GuestState | None) -> int:
    """A guest that does not run is off at whatever boot is asked for: it may never have come so far."""
    if state is not None and (state.running or spec is None):
        return state.boot
    assert spec is not None
    return spec.boot
