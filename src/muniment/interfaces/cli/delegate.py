"""Hand a narrower, short token to one's agent; and end what was handed out for a task."""

import os
from pathlib import Path
from typing import Any

import click

from muniment.errors import Malformed, Unauthenticated
from muniment.interfaces.cli import screen
from muniment.interfaces.cli.client import asking, now
from muniment.interfaces.cli.screen import json_option, length_option

AGENT, AGENT_FILE = "MUNIMENT_AGENT_TOKEN", "MUNIMENT_AGENT_TOKEN_FILE"


@click.command("delegate")
@click.argument("agent")
@click.option("--roles", default="", metavar="A/B,C/D", help="All that it may ask for; else: all.")
@length_option("--for", "seconds", "15m", "How long it may act for you.")
@length_option("--window", "window", "1h", "Longest window that it may ask for.")
@click.option("--task", default="", metavar="ID", help="What it is for; sealed.")
@click.option("--ticket", default="", metavar="ID", help="Ticket this is about; sealed.")
@json_option
def delegate_command(
    agent: str, roles: str, seconds: int, window: int, task: str, ticket: str, *, as_json: bool
) -> None:
    """
    Let AGENT act for you for a while; prints the token that it is to use.

    The agent's own credential is read from MUNIMENT_AGENT_TOKEN, or from the file that
    MUNIMENT_AGENT_TOKEN_FILE names.
    """
    shown = _agents_token()
    said = {"roles": roles, "task": task, "ticket": ticket}
    with asking() as api:
        answer = api.exchange(
            {
                "actor_token": shown,
                "agent": agent,
                "expires_in": str(seconds),
                "max_seconds": str(window),
                **{name: text for name, text in said.items() if text},
            }
        )
    if as_json:
        screen.show(answer, (), as_json=True)
        return
    click.echo(answer["access_token"])
    ends = screen.until(answer["expires_at"], now())
    may = answer.get("scope", "") or "whatever you may"
    click.echo(f"# {agent} acts for you until {ends}, and may ask for: {may}", err=True)


def _agents_token() -> str:
    token = os.environ.get(AGENT)
    if token is None and (path := os.environ.get(AGENT_FILE)):
        try:
            token = Path(path).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise Malformed(f"{AGENT_FILE} names `{path}`, which cannot be read") from error
    if not (token or "").strip():
        raise Unauthenticated(f"set {AGENT} (or {AGENT_FILE}) to the agent's own credential")
    return (token or "").strip()


@click.group("task")
def task_command() -> None:
    """What agents were let loose on."""


@task_command.command("end")
@click.argument("task")
@json_option
def end_task(task: str, *, as_json: bool) -> None:
    """Close every delegation for TASK; the access that came of them ends, too."""
    from urllib.parse import quote

    with asking() as api:
        answer: dict[str, Any] = api.post(f"/v1/tasks/{quote(task, safe='')}/end")
    lines = [
        f"closed: {screen.who(answer['names'], each['principal'])} ({each['session']})"
        for each in answer["closed"]
    ]
    screen.show(answer, lines, as_json=as_json)
