"""Disk images on their way in and out: which host converts them, and what becomes of the result.

Called by ``host_spec``, by ``hosts`` with what hosts report, and by ``loop``.
"""

import logging
from datetime import datetime

from msgspec.structs import replace

from pileus.base.ids import new_id
from pileus.controllers.reading import Reading
from pileus.hostapi.observation import ConversionObservation
from pileus.hostapi.spec import ConversionSpec
from pileus.records import DiskTask, Host, Image, Snapshot
from pileus.records.disk_task import KEPT
from pileus.records.image import ImageDevice, image_name_scope
from pileus.records.snapshot import NO_VOLUME
from pileus.store import ClaimTaken, Transaction, View

log = logging.getLogger(__name__)

_GIB = 1 << 30
_USER = "ec2-user"


def host_conversions(view: Reading, host_id: str) -> tuple[ConversionSpec, ...]:
    """What a host is to convert now."""
    return tuple(
        ConversionSpec(
            task_id=task.id,
            source=task.source_root,
            size=task.source_bytes,
            source_format="raw" if task.purpose == "export-image" else task.format,
            target_format=(task.format or "vmdk") if task.purpose == "export-image" else "raw",
            source_key_id=task.source_key_id if task.purpose == "export-image" else task.data_key_id,
            key_id=task.data_key_id,
        )
        for task in view.list(DiskTask, host_id=host_id)
        if task.stage == "converting" and task.source_root is not None
    )


def unsettled(view: View) -> bool:
    """Whether some task waits for a host, or has one that is not there."""
    return any(_needs_host(view, task) for task in view.list(DiskTask, stage="converting"))


def _needs_host(view: View, task: DiskTask) -> bool:
    host = view.get(Host, task.host_id) if task.host_id else None
    return host is None or host.state == "lost"


def settle(tx: Transaction) -> None:
    """Gives waiting tasks to the hosts that have the fewest; one whose host is lost begins again on another."""
    hosts = [host for host in tx.list(Host) if host.state == "up"]
    if not hosts:
        return
    for task in tx.list(DiskTask, stage="converting"):
        if _needs_host(tx, task):
            host = min(hosts, key=lambda one: len(tx.list(DiskTask, host_id=one.id)))
            tx.put(replace(task, host_id=host.id))


def observe(tx: Transaction, host_id: str, seen: ConversionObservation, now: datetime) -> None:
    """Notes what a host reports of a conversion. Reports about those that are over, or another host's, say nothing."""
    task = tx.get(DiskTask, seen.task_id)
    if task is None or task.host_id != host_id or task.stage != "converting":
        return
    match seen.phase:
        case "working":
            after = replace(task, progress=max(task.progress, 20 + min(seen.progress, 99) * 7 // 10), step=seen.step)
        case "failed":
            log.error("conversion failed", extra={"task": task.id, "reason": seen.detail})
            after = fail(task, seen.detail, now)
        case "done" if seen.root is not None and seen.size > 0:
            after = _finish(tx, task, seen.root, seen.size, now)
        case "done":
            after = fail(task, "ServerError: the host did not say where it stored the result.", now)
    if after != task:
        tx.put(after)


def forget(tx: Transaction, now: datetime) -> None:
    """Removes tasks that have been over for a week."""
    for task in tx.list(DiskTask):
        if task.ended is not None and task.ended + KEPT <= now:
            tx.delete(task)


def fail(task: DiskTask, message: str, now: datetime) -> DiskTask:
    """The task as one that failed; nothing of it is kept."""
    return replace(
        task,
        stage="failed",
        message=message,
        ended=now,
        host_id=None,
        source_root=None,
        result_root=None,
        data_key_id=None,
    )


def _finish(tx: Transaction, task: DiskTask, root: str, size: int, now: datetime) -> DiskTask:
    if task.purpose == "export-image":
        return replace(
            task, stage="sending", host_id=None, source_root=None, result_root=root, result_bytes=size, progress=90
        )
    size_gib = -(-size // _GIB)
    snapshot = tx.put(
        Snapshot(
            id=new_id("snap"),
            account=task.account,
            region=task.region,
            volume_id=NO_VOLUME,
            size=size_gib,
            started=task.created,
            state="completed",
            progress=100,
            description=task.description or f"Created by AWS-VMImport service for {task.id}",
            root=root,
            data_key_id=task.data_key_id,
            taken=now,
            completed=now,
        )
    )
    image_id = _register(tx, task, snapshot, now) if task.purpose == "import-image" else None
    return replace(
        task,
        stage="completed",
        progress=100,
        ended=now,
        host_id=None,
        source_root=None,
        data_key_id=None,
        snapshot_id=snapshot.id,
        image_id=image_id,
    )


def _register(tx: Transaction, task: DiskTask, snapshot: Snapshot, now: datetime) -> str:
    """The image of an imported disk, which boots by the firmware. Returns its id."""
    image_id = f"ami-{task.id.rpartition('-')[2]}"
    name = task.name or task.id
    try:
        tx.claim(image_name_scope(task.account, task.region), name, image_id)
    except ClaimTaken:  # somebody gave it to another one meanwhile
        name = task.id
        tx.claim(image_name_scope(task.account, task.region), name, image_id)
    root = ImageDevice(device_name=task.root_device, snapshot_id=snapshot.id, size=snapshot.size)
    tx.put(
        Image(
            id=image_id,
            account=task.account,
            region=task.region,
            name=name,
            description=task.description or f"AWS-VMImport service: {task.id}",
            created=now,
            family="",
            user=_USER,
            snapshot_id=snapshot.id,
            size=snapshot.size,
            root=root,
            root_device_name=task.root_device,
            architecture=task.architecture,
            boot_mode=task.boot_mode,
        )
    )
    return image_id
