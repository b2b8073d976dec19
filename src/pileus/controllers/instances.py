"""Instances converge: what hosts report and what the API wants are put together by ``records.instance.decide``."""

import logging
from datetime import datetime

from msgspec.structs import replace

from pileus.controllers import interfaces
from pileus.hostapi.observation import GuestObservation
from pileus.operations.context import Placement
from pileus.records import ConsoleLog, Instance, Volume
from pileus.records.instance import (
    Decision,
    Enter,
    Forget,
    KeepConsole,
    LetGo,
    Observed,
    Relaunch,
    State,
    check_transition,
    decide,
)
from pileus.store import Transaction

log = logging.getLogger(__name__)


def observe(tx: Transaction, host_id: str, seen: GuestObservation, now: datetime) -> Instance | None:
    """Notes what a host reports of one of its guests. Reports about others' guests and about older boots say nothing."""
    instance = tx.get(Instance, seen.instance_id)
    if instance is None or instance.host_id != host_id or seen.boot != instance.boot:
        return None
    observed = Observed(
        boot=seen.boot,
        reset=seen.reset,
        phase=seen.phase,
        cause=seen.cause,
        detail=seen.detail,
        impaired=seen.impaired,
        volumes=tuple(sorted(seen.volumes)),
        interfaces=tuple(sorted(seen.interfaces)),
        wiring=seen.wiring,
        since=now,
    )
    if instance.observed and replace(instance.observed, since=now) == observed:
        return instance
    return tx.put(replace(instance, observed=observed))


def settle(tx: Transaction, instance_id: str, placement: Placement, now: datetime) -> Decision:
    """Carries out decisions about an instance until none is left, or one that needs more than the store: that is
    returned (``KeepConsole``).
    """
    while True:
        instance = tx.get(Instance, instance_id)
        if instance is None:
            return None
        decision = decide(instance, now)
        match decision:
            case None | KeepConsole():
                return decision
            case Enter():
                _enter(tx, instance, decision, placement, now)
            case Relaunch(cause=cause):
                log.warning("guest died and is started again", extra={"instance": instance_id, "cause": cause})
                tx.put(replace(instance, boot=instance.boot + 1, reset=0, crashes=instance.crashes + 1, observed=None))
            case LetGo():
                tx.put(replace(instance, host_id=None))
            case Forget():
                _forget(tx, instance)


def _enter(tx: Transaction, instance: Instance, step: Enter, placement: Placement, now: datetime) -> None:
    check_transition(instance.state, step.state)
    log.info(
        "instance changes state",
        extra={"instance": instance.id, "before": str(instance.state), "after": str(step.state)},
    )
    after = replace(instance, state=step.state, reason=step.reason or instance.reason)
    if step.reason is not None:
        after = replace(after, transition=step.reason.message)
    match step.state:
        case State.STOPPED:
            after = replace(placement.release(tx, after), force=False).wiped()
            interfaces.give_back_public_addresses(tx, after.id)
        case State.TERMINATED:
            after = replace(placement.release(tx, after), ended=now, block_devices=()).wiped()
            interfaces.let_go(tx, after.id)
            _let_volumes_go(tx, after)
        case _:
            pass
    tx.put(after)


def _let_volumes_go(tx: Transaction, instance: Instance) -> None:
    for volume in tx.list(Volume, instance_id=instance.id):
        mine = volume.attachment_to(instance.id)
        others = tuple(attachment for attachment in volume.attachments if attachment is not mine)
        goes_along = mine is not None and mine.delete_on_termination and not mine.leaving
        state = "in-use" if others else ("deleting" if goes_along else "available")
        tx.put(replace(volume, attachments=others, state=state))


def _forget(tx: Transaction, instance: Instance) -> None:
    kept = tx.get(ConsoleLog, instance.id)
    if kept is not None:
        tx.delete(kept)
    tx.delete(instance)
