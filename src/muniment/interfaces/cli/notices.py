"""Try a way of telling people, before anything depends on it."""

import asyncio
from pathlib import Path

import click

from muniment.errors import ConfigInvalid
from muniment.interfaces.cli.server import folder_option


@click.group("notices")
def notices_command() -> None:
    """Ways of telling people."""


@notices_command.command("test")
@click.argument("name")
@click.option("--to", "login", metavar="LOGIN", help="Of mail: to this person of the settings.")
@folder_option
def notices_test(name: str, login: str | None, folder: Path) -> None:
    """
    Send a test message by `[notices.NAME]`. It says nothing of any case, and is not recorded.

    It reads the files and sends by itself: no service has to run.
    """
    from muniment.ports import Notice
    from muniment.runtime import clock
    from muniment.runtime.notices import read_notifiers
    from muniment.runtime.outbound import CheckedOutbound
    from muniment.runtime.settings import read_settings

    settings = read_settings(folder)
    notifier = read_notifiers(settings, folder, CheckedOutbound()).get(name)
    if notifier is None:
        known = ", ".join(settings.notices) or "none"
        raise ConfigInvalid(f"there is no `[notices.{name}]`; there are: {known}")
    if notifier.personal and (login is None or login not in settings.people):
        raise ConfigInvalid("say to whom: `--to LOGIN`, of somebody in `[people]` with a `mail`")
    address = settings.people[login].mail if notifier.personal and login else ""
    text = f"A test by the operator of {settings.installation.origin}. Nothing has to be done."
    notice = Notice(
        id=f"test.{clock.now():%Y%m%dT%H%M%S.%f}",
        event="test",
        case="",
        at=clock.now(),
        title="A test message",
        text=text,
        html=f"<p>{text}</p>",
        checkpoint="",
        facts={"case": "", "text": text},
    )
    asyncio.run(notifier.tell(notice, address))
    click.echo("sent: the next server took it; look whether it arrives", err=True)
