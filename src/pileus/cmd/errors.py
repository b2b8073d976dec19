"""What the ``pileus`` command says when something is wrong."""

import click


class CloudError(click.ClickException):
    """The cloud can't be started, reached or changed; the message is for the person at the terminal."""
