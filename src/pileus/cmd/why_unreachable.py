"""``pileus why-unreachable``: asks Reachability Analyzer over the public API, and says the answer in words.

Used by ``main``.
"""

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address
from typing import Any, NamedTuple

from pileus.cmd.errors import CloudError
from pileus.cmd.why_sentences import name_of, sentence

INTERNET = "internet"
_RESOURCES = ("i-", "eni-", "igw-", "pcx-", "vpce-")


class Verdict(NamedTuple):
    """Whether it is reachable; else every reason as a sentence, else the way there as one."""

    reachable: bool
    sentences: tuple[str, ...]


class _End(NamedTuple):
    """An end of the path. ``resource`` and ``address`` as the API has them; ``interface`` where it is one, as drawn."""

    resource: str | None
    address: str | None = None
    interface: Mapping[str, Any] | None = None


def why(ec2: Any, source: str, destination: str, port: int, protocol: str) -> Verdict:
    """Looks at the path from ``source`` to ``destination`` and its answers; leaves nothing behind.

    Raises:
        CloudError: one of the ends is not there, or could be several things.
    """
    path = _path(ec2, source, destination)
    if isinstance(path, Verdict):
        return path
    at_source: dict[str, Any] = {"DestinationPortRange": {"FromPort": port, "ToPort": port}, **path.pop("at_source")}
    found = _analyse(ec2, {**path, "Protocol": protocol, "FilterAtSource": at_source})
    asked = f"{protocol} port {port}"
    if found["Status"] != "succeeded":
        raise CloudError(f"The analysis failed: {found.get('StatusMessage', 'no reason was given')}")
    if found["NetworkPathFound"]:
        way = _way(found["ForwardPathComponents"])
        return Verdict(True, (f"{source} reaches {destination} on {asked}: {way}.",))
    reasons = dict.fromkeys(sentence(one, port) for one in found["Explanations"])
    first, *others = reasons
    return Verdict(
        False,
        (f"{source} does not reach {destination} on {asked}: {first}", *(f"Besides, {other}" for other in others)),
    )


def _path(ec2: Any, source: str, destination: str) -> dict[str, Any] | Verdict:
    """The parameters of the path, with what its filter at the source needs; or what is wrong before any packet is sent."""
    if INTERNET in (source, destination) and source == destination:
        raise CloudError("One of the two ends must be in this cloud.")
    sender = _end(ec2, source)
    receiver = _end(ec2, destination)
    at_source: dict[str, Any] = {}
    if sender.resource is None:
        if receiver.resource is None or receiver.interface is None:
            raise CloudError(f"Neither {source} nor {destination} is in this cloud.")
        gateway = _gateway(ec2, receiver.interface["VpcId"])
        if gateway is None:
            return _without_gateway(source, destination, receiver.interface)
        if sender.address is not None:
            at_source["SourceAddress"] = sender.address
        return {"Source": gateway, "Destination": receiver.resource, "at_source": at_source}
    if sender.address is not None:
        at_source["SourceAddress"] = sender.address
    if receiver.address is not None:
        return {"Source": sender.resource, "at_source": {**at_source, "DestinationAddress": receiver.address}}
    if receiver.resource is not None:
        return {"Source": sender.resource, "Destination": receiver.resource, "at_source": at_source}
    if sender.interface is None:
        raise CloudError(f"{source} does not send anything by itself.")
    gateway = _gateway(ec2, sender.interface["VpcId"])
    if gateway is None:
        return _without_gateway(source, destination, sender.interface)
    return {"Source": sender.resource, "Destination": gateway, "at_source": at_source}


def _without_gateway(source: str, destination: str, interface: Mapping[str, Any]) -> Verdict:
    reason = (
        f"{source} does not reach {destination}: {interface['VpcId']} has no internet gateway; attach one, and route "
        f"{interface['SubnetId']} to it."
    )
    return Verdict(False, (reason,))


def _end(ec2: Any, word: str) -> _End:
    """What a word of the command line means."""
    if word == INTERNET:
        return _End(None)
    if word.startswith("i-"):
        return _End(word, interface=_first(_interfaces(ec2, "attachment.instance-id", word), f"There is no {word}"))
    if word.startswith("eni-"):
        return _End(word, interface=_first(_interfaces(ec2, "network-interface-id", word), f"There is no {word}"))
    if word.startswith(_RESOURCES):
        return _End(word)
    try:
        address = str(IPv4Address(word))
    except ValueError as error:
        raise CloudError(
            f"{word} is neither the id of an instance or an interface, nor an IPv4 address, nor the word {INTERNET}."
        ) from error
    found = [
        *_interfaces(ec2, "addresses.private-ip-address", address),
        *_interfaces(ec2, "addresses.association.public-ip", address),
    ]
    if len(found) > 1:
        ids = ", ".join(one["NetworkInterfaceId"] for one in found)
        raise CloudError(f"Several interfaces have {address}: {ids}. Name the one that is meant.")
    if not found:
        return _End(None, address)
    (interface,) = found
    own = {one["PrivateIpAddress"] for one in interface["PrivateIpAddresses"]}
    return _End(interface["NetworkInterfaceId"], address if address in own else None, interface)


def _interfaces(ec2: Any, name: str, value: str) -> Sequence[Mapping[str, Any]]:
    pages = ec2.get_paginator("describe_network_interfaces").paginate(Filters=[{"Name": name, "Values": [value]}])
    return [one for page in pages for one in page["NetworkInterfaces"]]


def _first(found: Sequence[Mapping[str, Any]], complaint: str) -> Mapping[str, Any]:
    """The one with the lowest device index."""
    if not found:
        raise CloudError(f"{complaint}, or it has no network interface.")
    return min(found, key=lambda one: one.get("Attachment", {}).get("DeviceIndex", 0))


def _gateway(ec2: Any, vpc_id: str) -> str | None:
    filters = [{"Name": "attachment.vpc-id", "Values": [vpc_id]}]
    found = ec2.describe_internet_gateways(Filters=filters)["InternetGateways"]
    return found[0]["InternetGatewayId"] if found else None


def _analyse(ec2: Any, path: Mapping[str, Any]) -> Mapping[str, Any]:
    """What Reachability Analyzer says. Path and analysis are deleted again, whatever happens."""
    path_id = ec2.create_network_insights_path(**path)["NetworkInsightsPath"]["NetworkInsightsPathId"]
    try:
        begun = ec2.start_network_insights_analysis(NetworkInsightsPathId=path_id)["NetworkInsightsAnalysis"]
        ids = [begun["NetworkInsightsAnalysisId"]]
        try:
            (found,) = ec2.describe_network_insights_analyses(NetworkInsightsAnalysisIds=ids)["NetworkInsightsAnalyses"]
            return found
        finally:
            ec2.delete_network_insights_analysis(NetworkInsightsAnalysisId=ids[0])
    finally:
        ec2.delete_network_insights_path(NetworkInsightsPathId=path_id)


def _way(components: Sequence[Mapping[str, Any]]) -> str:
    """The components from one end to the other, with the routes taken."""
    return " → ".join(_component(one) for one in components)


def _component(step: Mapping[str, Any]) -> str:
    route = step.get("RouteTableRoute")
    name = name_of(step["Component"])
    if route is None:
        return name
    return f"{name} by its route to {route.get('DestinationCidr') or route['DestinationPrefixListId']}"
