"""What AWS documents, read from botocore's model: the oracle for names."""

import re
from functools import cache

import botocore.session

UNSAID = {"DescribeImportSnapshotTasks": ["task-state"]}
"""Where the model is silent: as its sister operation has it."""


@cache
def service_model(service):
    return botocore.session.get_session().get_service_model(service)


def documented_filters(operation, service="ec2"):
    """The names of an operation's filters, with ``tag:Owner`` for any tag. Lists inside the list are values, not names."""
    member = service_model(service).operation_model(operation).input_shape.members["Filters"]
    names, depth = [], 0
    for opened, closed, name in re.findall(
        r"(<ul>)|(</ul>)|<li>\s*<p>\s*(?:<code>|(?=[a-z.-]+ - ))([^< ]+)", member.documentation
    ):
        depth += bool(opened) - bool(closed)
        if name and depth == 1:
            names.append("tag:Owner" if name.partition(":")[0] == "tag" else name)
    return names or re.findall(r"using the <code>([a-z-]+)</code> filter", member.documentation) or UNSAID[operation]
