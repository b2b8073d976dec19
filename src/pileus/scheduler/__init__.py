"""Where an instance runs: filters say which hosts can, weighers say which should, the promise is made in the store."""

from pileus.scheduler.placement import Scheduler

__all__ = ["Scheduler"]
