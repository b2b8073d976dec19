"""Whether a packet gets from here to there, and what stops it: Reachability Analyzer's computation, over records alone.

``analyse`` asks; ``walk`` follows one packet through groups, ACLs, route tables and gateways and writes down its trail.
Called by ``pileus.services.ec2.insights``. IPv4 only, as Reachability Analyzer.
"""

from pileus.records.paths.analysis import Cloud, analyse
from pileus.records.paths.ends import UnknownEnd, end_of
from pileus.records.paths.model import Answer, Filter, Packet, Question, Reason, Step

__all__ = ["Answer", "Cloud", "Filter", "Packet", "Question", "Reason", "Step", "UnknownEnd", "analyse", "end_of"]
