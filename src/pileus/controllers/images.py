"""Images converge: an instance goes down for its image and is started again, and an image is ready once its snapshots are.

Called by ``loop`` whenever an image, a snapshot or an instance changed.
"""

import logging
from collections.abc import Sequence
from datetime import datetime

from msgspec.structs import replace

from pileus.records import Image, Instance, Snapshot
from pileus.records.image import Finish, ImageDecision, StartAgain, TakeSnapshots, decide, image_name_scope
from pileus.records.instance import DEAD, State
from pileus.store import Transaction, View

log = logging.getLogger(__name__)

KINDS = frozenset({Image.kind, Snapshot.kind, Instance.kind})
"""What an image that is being made depends on."""


def unsettled(view: View) -> list[str]:
    """The images for which there is something to do."""
    return [image.id for image in view.list(Image, making="yes") if _decide(view, image) is not None]


def settle(tx: Transaction, image_ids: Sequence[str]) -> None:
    """Does for these images what is to be done now."""
    for image_id in image_ids:
        while (image := tx.get(Image, image_id)) is not None:
            decision = _decide(tx, image)
            if decision is None:
                break
            _carry_out(tx, image, decision)


def _decide(view: View, image: Image) -> ImageDecision:
    instance = view.get(Instance, image.instance_id) if image.instance_id else None
    return decide(image, instance, {id_: view.get(Snapshot, id_) for id_ in image.snapshot_ids})


def _carry_out(tx: Transaction, image: Image, decision: TakeSnapshots | StartAgain | Finish) -> None:
    match decision:
        case TakeSnapshots():
            for id_ in image.snapshot_ids:
                snapshot = tx.get(Snapshot, id_)
                if snapshot is not None and snapshot.held:
                    tx.put(replace(snapshot, held=False))
        case StartAgain():
            _start_again(tx, image)
            tx.put(replace(image, rebooting=False))
        case Finish():
            log.info("image made", extra={"image": image.id, "state": decision.state, "reason": decision.reason})
            tx.put(replace(image, state=decision.state, state_reason=decision.reason))


def _start_again(tx: Transaction, image: Image) -> None:
    instance = tx.get(Instance, image.instance_id) if image.instance_id else None
    if instance is None or instance.imaging != image.id:
        return
    seen = instance.observed
    is_down = seen is not None and seen.boot == instance.boot and seen.phase in DEAD
    if instance.state in {State.PENDING, State.RUNNING} and is_down:
        instance = replace(instance, boot=instance.boot + 1, reset=0, observed=None)
    tx.put(replace(instance, imaging=None))


def empty_bin(tx: Transaction, now: datetime) -> None:
    """Deletes for good what has been in the recycle bin for long enough."""
    for image in tx.list(Image):
        if image.bin_until is not None and image.bin_until <= now:
            tx.release(image_name_scope(image.account, image.region), image.name)
            tx.delete(image)
