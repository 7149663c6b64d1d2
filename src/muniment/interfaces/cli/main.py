"""The parser, and the only place where an error class becomes an exit code."""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from muniment import __version__
from muniment.errors import Malformed, MunimentError, Unavailable
from muniment.interfaces.cli import interrupts
from muniment.interfaces.verifier import needed

#: 0 done, 1 refused or does not hold, 2 usage, 3 unreachable
REFUSED, USAGE, UNREACHABLE = 1, 2, 3

#: command to (module, section of the help); imported only when the command runs
COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("demo", "Start"),
    "init": ("server", "Start"),
    "check": ("server", "Start"),
    "serve": ("server", "Start"),
    "reload": ("server", "Start"),
    "token": ("server", "Start"),
    "backup": ("backup", "Operate"),
    "restore": ("backup", "Operate"),
    "migrate": ("migrate", "Operate"),
    "projections": ("operate", "Operate"),
    "clock": ("operate", "Operate"),
    "notices": ("notices", "Operate"),
    "witness": ("witness", "Operate"),
    "key": ("key", "Operate"),
    "signer": ("signer", "Operate"),
    "login": ("login", "Ask"),
    "logout": ("login", "Ask"),
    "whoami": ("client", "Ask"),
    "roles": ("client", "Ask"),
    "run": ("run", "Ask"),
    "request": ("client", "Ask"),
    "withdraw": ("client", "Ask"),
    "credential": ("client", "Ask"),
    "extend": ("client", "Ask"),
    "end": ("client", "Ask"),
    "delegate": ("delegate", "Ask"),
    "task": ("delegate", "Ask"),
    "approvals": ("decide", "Decide"),
    "approve": ("decide", "Decide"),
    "refuse": ("decide", "Decide"),
    "revoke": ("decide", "Decide"),
    "reviews": ("campaigns", "Decide"),
    "list": ("look", "Look"),
    "show": ("look", "Look"),
    "whois": ("look", "Look"),
    "overdue": ("look", "Look"),
    "detect": ("detect", "Oversee"),
    "findings": ("findings", "Oversee"),
    "drift": ("drift", "Oversee"),
    "holds": ("holds", "Oversee"),
    "retention": ("retention", "Oversee"),
    "report": ("report", "Oversee"),
    "evidence": ("evidence", "Prove"),
    "verify": ("verify", "Prove"),
    "replay": ("verify", "Prove"),
    "completeness": ("case_index", "Prove"),
    "events": ("events", "Prove"),
    "audit": ("audit", "Prove"),
    "policy": ("policy", "Policy as code"),
}


class Commands(click.Group):
    """Finds a command by name and imports only its module, so that the rest costs nothing."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click calls it so)
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        try:
            module = import_module(f"muniment.interfaces.cli.{COMMANDS[cmd_name][0]}")
        except ImportError as error:
            wrong = needed.lacking()
            if wrong is None:
                raise
            raise Malformed(wrong) from error
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section in dict.fromkeys(section for _, section in COMMANDS.values()):
            rows = []
            for name, (_, where) in COMMANDS.items():
                command = self.get_command(ctx, name) if where == section else None
                if command is not None:
                    rows.append((name, command.get_short_help_str(70)))
            with formatter.section(section):
                formatter.write_dl(rows)


@click.group(cls=Commands)
@click.version_option(__version__, prog_name="muniment")
def muniment() -> None:
    """Just-in-time privileged access whose evidence outlives the access."""


def main(arguments: Sequence[str] | None = None) -> None:
    interrupts.keep()
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    try:
        result: Any = muniment.main(
            args=list(arguments) if arguments is not None else None,
            prog_name="muniment",
            standalone_mode=False,
        )
    except click.exceptions.Abort:
        click.echo("stopped", err=True)
        return REFUSED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except MunimentError as error:
        click.echo(f"muniment: {error}", err=True)
        return exit_code(error)
    return result if isinstance(result, int) else 0


def exit_code(error: MunimentError) -> int:
    if isinstance(error, Unavailable):
        return UNREACHABLE
    return USAGE if isinstance(error, Malformed) else REFUSED
