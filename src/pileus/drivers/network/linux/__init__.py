"""Networks of plain Linux: a namespace per VPC, a routed tap per interface, nftables, dnsmasq, one veth to the host.

Bottom up: ``names`` (names, addresses, validation), ``namespace`` (entering and running), ``tap``, ``links`` and ``nft``
(state as values, and the difference of two states as a script), ``ruleset`` (what a VPC filters and translates),
``dnsmasq``, ``conntrack``, ``vpc`` and ``edge`` (one namespace each), ``network`` (the driver).
"""
