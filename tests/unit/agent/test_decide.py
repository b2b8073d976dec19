"""What the agent does next with a guest: laws that hold for every wish and every state."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pileus.agent.decide import Trouble, describe, next_step
from pileus.drivers.hypervisor.interface import GuestState
from pileus.hostapi.observation import Cause
from pileus.hostapi.spec import GuestSpec, MetadataSpec

METADATA = MetadataSpec(
    instance_id="i-1",
    account="000000000000",
    region="us-east-1",
    zone="us-east-1a",
    zone_id="use1-az1",
    image_id="ami-1",
    instance_type="t3.micro",
    reservation_id="r-1",
    launch_index=0,
    architecture="x86_64",
    pending_time="2026-01-01T00:00:00Z",
    local_hostname="ip-10-0-0-1.ec2.internal",
    interfaces=(),
    security_groups=(),
)
ON = GuestSpec(
    instance_id="i-1",
    boot=2,
    power="on",
    uuid="ec2",
    vcpus=1,
    memory=1,
    image="x",
    disks=(),
    nics=(),
    metadata=METADATA,
)
OWN_CAUSES: tuple[Cause, ...] = ("guest-shutdown", "guest-panic", "crash", "host-restart")

specs = st.none() | st.builds(
    lambda boot, reset, power, stop_timeout: replace(
        ON, boot=boot, reset=reset, power=power, stop_timeout=stop_timeout
    ),
    boot=st.integers(1, 3),
    reset=st.integers(0, 2),
    power=st.sampled_from(["on", "off", "cut", "gone"]),
    stop_timeout=st.floats(0, 100),
)


@st.composite
def states(draw: st.DrawFn) -> GuestState | None:
    if draw(st.booleans()):
        return None
    running = draw(st.booleans())
    return GuestState(
        instance_id="i-1",
        boot=draw(st.integers(1, 3)),
        reset=draw(st.integers(0, 2)),
        running=running,
        impaired=running and draw(st.booleans()),
        cause="" if running else draw(st.sampled_from(["", "asked", "watchdog", *OWN_CAUSES])),
    )


def after(step: str, spec: GuestSpec, state: GuestState | None) -> GuestState | None:
    """A hypervisor that does at once what it is told."""
    match step:
        case "start":
            return GuestState(instance_id="i-1", boot=spec.boot, reset=spec.reset, running=True)
        case "reset":
            return None if state is None else replace(state, reset=spec.reset)
        case "cut" | "press":
            return None if state is None else replace(state, running=False, cause="asked")
        case "remove":
            return None
        case _:
            return state


@given(specs, states(), st.floats(0, 1000))
def test_it_comes_to_rest_where_it_was_meant_to(
    spec: GuestSpec | None, state: GuestState | None, stopping_for: float
) -> None:
    steps: list[str] = []
    while (step := next_step(spec, state, stopping_for)) != "rest":
        assert spec is not None
        steps.append(step)
        assert len(steps) <= 3
        state = after(step, spec, state)
    if spec is None:
        assert not steps
    elif spec.power == "gone":
        assert state is None
    elif spec.power in ("off", "cut"):
        assert state is None or not state.running
    else:
        assert state is not None
        assert state.boot > spec.boot or state.running or state.cause in OWN_CAUSES


@given(specs, states(), st.floats(0, 1000))
def test_only_gone_removes_and_only_on_starts(
    spec: GuestSpec | None, state: GuestState | None, stopping_for: float
) -> None:
    step = next_step(spec, state, stopping_for)
    if step == "remove":
        assert spec is not None
        assert spec.power == "gone"
    if step in ("start", "reset"):
        assert spec is not None
        assert spec.power == "on"
        assert state is None or state.boot <= spec.boot
    if step in ("press", "cut", "reset"):
        assert state is not None
        assert state.running
    if step == "start":
        assert state is None or not state.running


@pytest.mark.parametrize("cause", OWN_CAUSES)
def test_a_guest_that_went_off_by_itself_stays_off_in_its_boot(cause: Cause) -> None:
    state = GuestState(instance_id="i-1", boot=2, reset=0, running=False, cause=cause)
    assert next_step(ON, state) == "rest"
    assert next_step(replace(ON, reset=1), state) == "rest"
    assert next_step(replace(ON, boot=3), state) == "start"


def test_a_launch_that_was_cut_short_is_finished() -> None:
    state = GuestState(instance_id="i-1", boot=2, reset=0, running=False)
    assert next_step(ON, state) == "start"
    assert next_step(ON, replace(state, cause="asked")) == "start"


def test_the_button_first_and_the_plug_when_the_time_is_over() -> None:
    off = replace(ON, power="off", stop_timeout=90.0)
    state = GuestState(instance_id="i-1", boot=2, reset=0, running=True)
    assert [next_step(off, state, seconds) for seconds in (0.0, 89.9, 90.0)] == ["press", "press", "cut"]


def test_an_older_boot_ends_before_the_new_one_begins() -> None:
    state = GuestState(instance_id="i-1", boot=1, reset=5, running=True)
    assert next_step(ON, state) == "cut"


@given(specs, states())
def test_what_is_said_fits_what_is_there(spec: GuestSpec | None, state: GuestState | None) -> None:
    said = describe("i-1", spec, state, accelerator="tcg")
    if said is None:
        assert spec is None
        assert state is None
        return
    running = state is not None and state.running
    assert (said.phase in ("running", "stopping")) >= running
    assert (said.accelerator == "tcg") == running
    if said.cause:
        assert state is not None
        assert (said.phase, said.cause, said.boot) == ("off", state.cause, state.boot)
    if spec is not None and not running:
        assert said.boot == spec.boot
    assert (said.phase in ("absent", "gone")) == (state is None and said.phase != "preparing")
    if said.phase == "running":
        assert state is not None
        assert (said.boot, said.reset) == (state.boot, state.reset)


def test_trouble_is_told_of_its_own_boot_alone() -> None:
    for boot, permanent in itertools.product((1, 2), (False, True)):
        said = describe("i-1", ON, None, Trouble(boot=boot, detail="no image", permanent=permanent))
        assert said is not None
        if boot == 1:
            assert (said.phase, said.detail) == ("preparing", "")
        else:
            assert (said.phase, said.detail) == ("failed" if permanent else "preparing", "no image")
