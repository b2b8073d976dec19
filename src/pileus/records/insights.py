"""Reachability Analyzer: paths to look at, and what was found."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar, Literal

from pileus.records.tagged import Tagged


class InsightsPath(Tagged, frozen=True, kw_only=True):
    """From where to where. ``source`` and ``destination`` are ids (or None where the filter has an address).

    ``filter_at_source`` and ``filter_at_destination`` have the API's shape.
    """

    kind: ClassVar[str] = "network-insights-path"

    source: str
    destination: str | None
    protocol: Literal["tcp", "udp"]
    created: datetime
    source_ip: str | None = None
    destination_ip: str | None = None
    destination_port: int | None = None
    filter_at_source: Mapping[str, Any] | None = None
    filter_at_destination: Mapping[str, Any] | None = None


class InsightsAnalysis(Tagged, frozen=True, kw_only=True):
    """One look at a path. ``result`` is the answer's shape: NetworkPathFound, ForwardPathComponents, Explanations, …"""

    kind: ClassVar[str] = "network-insights-analysis"
    indexes: ClassVar[tuple[str, ...]] = ("path_id",)

    path_id: str
    started: datetime
    status: Literal["running", "succeeded", "failed"]
    result: Mapping[str, Any]
    status_message: str | None = None
    filter_in_arns: tuple[str, ...] = ()
    filter_out_arns: tuple[str, ...] = ()
