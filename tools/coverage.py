"""Writes docs/coverage.md from the registry: ``python -m tools.coverage``. A test fails when it is out of step."""

from pathlib import Path

from pileus.aws.protocol import load_service
from pileus.services.registry import SERVICES

PAGE = Path(__file__).parent.parent / "docs" / "coverage.md"


def page() -> str:
    """The page's text."""
    lines = [
        "# What is supported",
        "",
        "Generated from the code by `make docs`. Every operation listed here takes all the parameters that this cloud can",
        "honour and refuses the others by name. Operations that are not listed answer `UnsupportedOperation`.",
        "",
        "| service | operations here | in the model |",
        "|---|---|---|",
    ]
    for service in SERVICES:
        known = len(load_service(service.name).operations)
        lines.append(f"| {service.name} | {len(service.operations)} | {known} |")
    for service in SERVICES:
        lines += [
            "",
            f"## {service.name}",
            "",
            "| operation | IAM action | resources | token | tags on creation |",
            "|---|---|---|---|---|",
        ]
        for name, operation in sorted(service.operations.items()):
            resources = ", ".join(sorted({one.partition(":")[0] for one in operation.resources}))
            lines.append(
                f"| {name} | {operation.action} | {resources} | {'yes' if operation.idempotent else ''} "
                f"| {', '.join(operation.taggable)} |"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
