"""Volumes as files on this host's file system: the driver ``local``. Started by ``pileus.cmd`` for the agent."""

from pileus.drivers.volume.local.driver import LocalVolumes

__all__ = ["LocalVolumes"]
