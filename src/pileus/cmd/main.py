"""The ``pileus`` command. Each subcommand imports what it needs when it runs, so that the command itself starts at once."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import click
import msgspec
from msgspec.structs import replace

from pileus import __version__
from pileus.base.clock import SystemClock
from pileus.base.config import Config
from pileus.cmd.errors import CloudError
from pileus.cmd.layout import Layout, default_data_dir

_clock = SystemClock()


class Place(msgspec.Struct, frozen=True):
    """What every subcommand works on."""

    layout: Layout
    settings: Config


class Commands(click.Group):
    """The subcommands. What the system refuses them (a directory, a socket) is told in a line."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the subcommand that the context names."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # The reader has seen enough (``| head``): click ends quietly.
        except OSError as error:
            raise CloudError(str(error)) from error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="PILEUS_DATA_DIR",
    help="Where the cloud is kept.",
)
@click.option(
    "--port", type=click.IntRange(1, 65535), envvar="PILEUS_PORT", help="The API's port, instead of the configured one."
)
@click.version_option(__version__, message="%(version)s")
@click.pass_context
def main(context: click.Context, data_dir: Path | None, port: int | None) -> None:
    """An EC2-compatible cloud that you run yourself."""
    layout = Layout(data_dir or default_data_dir())
    settings = layout.load_config()
    context.obj = Place(layout, replace(settings, port=port) if port else settings)


@main.command()
@click.option("--simulate", is_flag=True, help="Over fake drivers: no virtual machines; instances run in milliseconds.")
@click.option("--foreground", is_flag=True, help="Stay, until told to stop.")
@click.pass_obj
def up(place: Place, simulate: bool, foreground: bool) -> None:
    """Start the cloud on this machine. Harmless when it runs already."""
    from pileus.cmd import cloud
    from pileus.cmd.plan import supervisor_command
    from pileus.cmd.privileges import CONTROL_UID

    if not simulate and os.geteuid() != 0:
        raise CloudError("Real instances need root. Run as root, or add --simulate.")
    if foreground:
        place.layout.prepare(CONTROL_UID, simulate=simulate)
        argv = supervisor_command(place.layout, place.settings, simulate=simulate)
        os.execv(argv[0], argv)  # noqa: S606 - becomes the supervisor
    begin = _clock.monotonic()
    cloud.start(place.layout, place.settings, simulate=simulate)
    click.echo(f"The cloud answers at {cloud.endpoint(place.settings)} ({_clock.monotonic() - begin:.1f} s).")


@main.command()
@click.option("--destroy", is_flag=True, help="Also end all guests and remove everything: volumes, networks, records.")
@click.pass_obj
def down(place: Place, destroy: bool) -> None:
    """Stop the cloud. Guests run on and are found again by the next start."""
    from pileus.cmd import cloud
    from pileus.cmd.destroy import destroy_everything

    ran = cloud.stop(place.layout)
    click.echo("The cloud is stopped." if ran else "The cloud was not running.")
    if destroy:
        asyncio.run(destroy_everything(place.layout, place.settings))
        click.echo(f"Everything in {place.layout.root} is gone, but the machine images.")


@main.command()
@click.pass_obj
def status(place: Place) -> None:
    """Say what runs: processes, API, instances by state."""
    from collections import Counter

    from pileus.cmd import cloud

    pid = cloud.supervisor_pid(place.layout)
    click.echo(f"data directory  {place.layout.root}")
    click.echo(f"supervisor      {f'process {pid}' if pid else 'not running'}")
    answers = cloud.healthy(place.settings)
    click.echo(f"api             {cloud.endpoint(place.settings)} {'answers' if answers else 'does not answer'}")
    if not answers:
        sys.exit(1)
    for region in place.settings.regions:
        ec2 = cloud.connect(place.layout, place.settings, region=region.name)
        try:
            pages = list(ec2.get_paginator("describe_instances").paginate())
        except ec2.exceptions.ClientError as error:
            raise CloudError(f"What answers there is not this cloud as it is configured now: {error}") from error
        found = [one for page in pages for reservation in page["Reservations"] for one in reservation["Instances"]]
        states = Counter(one["State"]["Name"] for one in found)
        summary = ", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "none"
        click.echo(f"instances       {region.name}: {summary}")


@main.command()
@click.pass_obj
def doctor(place: Place) -> None:
    """Say what this machine lacks, and how to get it. Boots something to find out which accelerator works."""
    from pileus.cmd.doctor import examine, report
    from pileus.cmd.serve import choose_accelerator

    well = report(examine(place.layout.root), click.echo)
    if well:
        place.layout.root.mkdir(parents=True, exist_ok=True)
        click.echo(f"ok    accelerator          {asyncio.run(choose_accelerator(place.layout, place.settings))}")
    sys.exit(0 if well else 1)


@main.command()
@click.option("--profile", help="Write an AWS profile of this name instead of printing exports.")
@click.option("--region", help="Instead of the cloud's default region.")
@click.pass_obj
def env(place: Place, profile: str | None, region: str | None) -> None:
    """Print what points AWS clients at this cloud: eval "$(pileus env)"."""
    from pileus.cmd import cloud
    from pileus.cmd.environment import exports, write_profile

    keys = cloud.credentials(place.layout)
    known = [one.name for one in place.settings.regions]
    if region and region not in known:
        raise CloudError(f"This cloud has no region {region}. It has: {', '.join(known)}.")
    at = (keys, cloud.endpoint(place.settings), region or place.settings.default_region)
    if profile:
        write_profile(profile, *at, Path.home())
        click.echo(f"Wrote the profile {profile}. Use it with: aws --profile {profile} ec2 describe-instances")
        return
    for name, value in exports(*at).items():
        click.echo(f"export {name}={value}")


@main.group()
def ami() -> None:
    """Machine images."""


@ami.command("build")
@click.argument("family", nargs=-1)
@click.pass_obj
def ami_build(place: Place, family: tuple[str, ...]) -> None:
    """Build machine images from Debian's packages, where missing: tiny, debian-12 (default: all)."""
    from pileus.drivers.image.build import FAMILIES, build, default_cache

    unknown = set(family) - set(FAMILIES)
    if unknown:
        raise CloudError(f"There is no such family: {', '.join(sorted(unknown))}. There are: {', '.join(FAMILIES)}.")
    for name in family or FAMILIES:
        manifest = build(name, place.layout.images, default_cache(), click.echo, _clock)
        click.echo(f"{manifest.name} is there.")


@ami.command("import")
@click.argument("source", metavar="FILE|URL")
@click.option("--name", help="The image's name; by default the file's.")
@click.option("--boot-mode", type=click.Choice(["legacy-bios", "uefi"]), default="legacy-bios", show_default=True)
@click.option("--format", "format_", type=click.Choice(["raw", "qcow2", "vmdk", "vhd", "vhdx"]), help="Else found out.")
@click.option("--sha256", help="What the file must have.")
@click.pass_obj
def ami_import(
    place: Place, source: str, name: str | None, boot_mode: str, format_: str | None, sha256: str | None
) -> None:
    """Import a distribution's cloud image as a machine image of the first account."""
    from pileus.cmd.cloud import connect, credentials
    from pileus.cmd.import_image import Wanted, default_name, import_image

    wanted = Wanted(
        source=source, name=name or default_name(source), boot_mode=boot_mode, format=format_, sha256=sha256
    )
    account = credentials(place.layout).account
    click.echo(
        import_image(wanted, lambda service: connect(place.layout, place.settings, service), click.echo, account)
    )


@ami.command("list")
@click.pass_obj
def ami_list(place: Place) -> None:
    """List the machine images on this host."""
    from pileus.cmd.bootstrap import image_record
    from pileus.drivers.image.local import LocalImages

    for manifest in asyncio.run(LocalImages(place.layout.images).observe()):
        id_ = image_record(manifest, place.settings.default_region).id
        click.echo(f"{id_}  {manifest.name:<44} user {manifest.user:<10} {manifest.created}")


@main.command("first-instance")
@click.option("--family", default="debian-12", show_default=True, help="Of which image.")
@click.option("--type", "instance_type", default="t3.small", show_default=True)
@click.pass_obj
def first_instance(place: Place, family: str, instance_type: str) -> None:
    """Launch an instance to log in to, unless it is there, and say how."""
    from pileus.cmd import cloud
    from pileus.cmd.bootstrap import image_record
    from pileus.cmd.first_instance import Offer, ensure_first_instance
    from pileus.cmd.serve import network_name
    from pileus.drivers.image.local import LocalImages

    begin = _clock.monotonic()

    def progress(line: str) -> None:
        click.echo(f"{_clock.monotonic() - begin:6.1f} s  {line}")

    known = [one for one in asyncio.run(LocalImages(place.layout.images).observe()) if one.family == family]
    if not known:
        raise CloudError(f"There is no image of the family {family}. Build it with: pileus ami build {family}")
    newest = image_record(known[-1], place.settings.default_region)
    image = Offer(ami=newest.id, name=newest.name, user=newest.user)
    ec2 = cloud.connect(place.layout, place.settings)
    link = network_name(place.layout.identity().cloud_id)
    key, login = ensure_first_instance(ec2, image, instance_type, Path.home() / ".ssh", link, progress)
    progress("SSH answers")
    click.echo(f"\nLog in:\n  ssh -i {key} {login}\n")


@main.command("why-unreachable")
@click.argument("source")
@click.argument("destination")
@click.argument("port", type=click.IntRange(0, 65535))
@click.option("--protocol", type=click.Choice(["tcp", "udp"]), default="tcp", show_default=True)
@click.option("--region", help="Instead of the cloud's default region.")
@click.pass_obj
def why_unreachable(place: Place, source: str, destination: str, port: int, protocol: str, region: str | None) -> None:
    """Say what stops packets from SOURCE to DESTINATION, and what would let them through; or which way they take.

    Both are ids of instances or network interfaces, addresses, or the word internet. Exit status 1: unreachable.
    """
    from pileus.cmd import cloud
    from pileus.cmd.why_unreachable import why

    verdict = why(cloud.connect(place.layout, place.settings, region=region), source, destination, port, protocol)
    for line in verdict.sentences:
        click.echo(line)
    sys.exit(0 if verdict.reachable else 1)


@main.command()
@click.argument("process", type=click.Choice(["api", "controller", "storage", "agent", "supervisor"]), required=False)
@click.option("-n", "--lines", default=40, show_default=True, help="How many of the last lines.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written.")
@click.pass_obj
def logs(place: Place, process: str | None, lines: int, follow: bool) -> None:
    """Show the log of the cloud's processes: one JSON object a line."""
    names = [process] if process else ["api", "controller", "storage", "agent", "supervisor"]
    files = [str(path) for name in names if (path := place.layout.logs / f"{name}.log").exists()]
    if not files:
        raise CloudError(f"There are no logs in {place.layout.logs}.")
    os.execvp("tail", ["tail", "-n", str(lines), *(["-F"] if follow else []), *files])  # noqa: S606, S607 - becomes tail


@main.command()
def version() -> None:
    """Print the version."""
    click.echo(__version__)


@main.command(hidden=True)
@click.argument("process", type=click.Choice(["api", "controller", "storage", "agent"]))
@click.option("--listener", type=int, default=-1)
@click.option("--simulate", is_flag=True)
@click.pass_obj
def serve(place: Place, process: str, listener: int, simulate: bool) -> None:
    """Run one process of the cloud. Used by the supervisor."""
    from pileus.cmd import serve as processes

    match process:
        case "api":
            processes.run("api", processes.api(place.layout, place.settings, listener))
        case "storage":
            processes.run("storage", processes.storage(place.layout, place.settings))
        case "controller":
            processes.run("controller", processes.controller(place.layout, place.settings, simulate=simulate))
        case _:
            one = processes.simulated_agents if simulate else processes.agent
            processes.run("agent", one(place.layout, place.settings))


if __name__ == "__main__":
    main()
