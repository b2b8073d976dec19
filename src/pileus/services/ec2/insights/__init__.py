"""Reachability Analyzer: ``paths`` and ``analyses`` are its operations, ``drawing`` is how an answer is shown."""

from pileus.services.ec2.insights import analyses, paths

__all__ = ["analyses", "paths"]
