"""The operator's commands: make an installation, check it, run it, tell it of changes."""

import asyncio
import fcntl
import json
import os
import signal
import tomllib
from datetime import UTC, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import click

from muniment.access.window import seconds
from muniment.errors import ConfigInvalid, Conflict, MunimentError

folder_option = click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path),
    envvar="MUNIMENT_DIR",
    default=Path(),
    show_default="the current directory, or MUNIMENT_DIR",
    help="Configuration folder.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document.")


@click.command("init")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--origin", default="muniment.example/log", show_default=True, help="Name of the log."
)
@click.option("--postgres", metavar="DSN", help="Your own database: host=… port=… dbname=…")
@click.option("--role", "app_role", default="app_rw", show_default=True, help="Role to hand out.")
@json_option
def init_command(
    folder: Path, origin: str, postgres: str | None, app_role: str, *, as_json: bool
) -> None:
    """
    Make a configuration folder: settings, policy, keys and an empty log.

    With --postgres also the SQL for the connector's account: printed, and in FOLDER/postgresql.sql.
    """
    from muniment.policy import starter
    from muniment.runtime.settings import FILE, read_settings
    from muniment.runtime.wiring import make_log

    if (folder / FILE).exists():
        raise Conflict(f"`{folder / FILE}` exists already; choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in starter.files().items():
        path = folder / "policy" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    template = (files("muniment.runtime") / "starter.toml").read_text("utf-8")
    text = template.replace("@ORIGIN@", json.dumps(origin))
    if postgres is not None:
        text += _resource(postgres, app_role)
    (folder / FILE).write_text(text, "utf-8")
    sql = _setup_sql(folder, app_role) if postgres is not None else None
    key = make_log(folder, read_settings(folder))
    if as_json:
        made = {"folder": str(folder), "log_key": key.verifier.vkey, "sql": sql and str(sql)}
        click.echo(json.dumps(made))
        return
    click.echo(f"made {folder}: {FILE}, policy/, keys/, data/, head/")
    click.echo(f"the log's public key, for auditors: {key.verifier.vkey}")
    if sql is not None:
        click.echo("\nrun this on your database, once, as a superuser or the owner:")
        click.echo(f"psql … -f {sql}\n")
        click.echo(sql.read_text("utf-8"))
    click.echo(f"\nnext: muniment token create admin --dir {folder}; muniment serve --dir {folder}")


def _setup_sql(folder: Path, app_role: str) -> Path:
    """The file with what a superuser has to run at the target."""
    from muniment.connectors.postgresql import setup_sql

    path = folder / "postgresql.sql"
    path.write_text(setup_sql(user="muniment_connector", grants=[app_role]), "utf-8")
    return path


def _resource(dsn: str, app_role: str) -> str:
    return f"""
[resources.my-database]
connector = "postgresql"
tier = "prod"
environment = "production"
endpoints = [{json.dumps(dsn)}]
user = "muniment_connector"
password = "env:MUNIMENT_POSTGRES_PASSWORD"

[resources.my-database.roles.readwrite]
grants = [{json.dumps(app_role)}]
"""


@click.command("check")
@folder_option
@click.option("--diff", is_flag=True, help="What a reload would take into the log.")
@click.option("--targets", is_flag=True, help="Connect to every target; print what is missing.")
@json_option
def check_command(folder: Path, diff: bool, targets: bool, as_json: bool) -> int:
    """Validate the files; show what would change; look whether the targets are ready."""
    from muniment.interfaces.cli import remembering
    from muniment.policy import bundle
    from muniment.runtime.files import read_proposed
    from muniment.runtime.listening import check_address, check_certificate
    from muniment.runtime.notices import read_notifiers
    from muniment.runtime.outbound import CheckedOutbound
    from muniment.runtime.overseeing import check_oversight

    settings, proposed = read_proposed(folder)
    read_notifiers(settings, folder, CheckedOutbound())
    check_oversight(settings, folder)
    check_address(settings.server)
    check_certificate(settings.server, folder)
    bundle.load(proposed.policy)  # which groups there are is the log's to say: `--diff`
    report: dict[str, Any] = {"valid": True, "warnings": _warnings(settings)}
    manned = _groups_here(settings)
    if diff:
        report["changes"], elsewhere = _diff(folder)
        manned |= elsewhere
    if diff or not _groups_come_from_elsewhere(settings):
        report["warnings"] += _reviewed_by_nobody(settings, manned)
    if targets:
        report["missing"] = asyncio.run(_missing(proposed.connectors))
        report["others"] = asyncio.run(remembering.look(settings, folder))
    if as_json:
        click.echo(json.dumps(report, indent=2))
    else:
        _print_report(report)
    silent = any(not each["answers"] for each in report.get("others", ()))
    return 1 if silent or any(each["needed"] for each in report.get("missing", ())) else 0


def _warnings(settings: Any) -> list[str]:
    unlinked = settings.notices and settings.server.public_url is None
    return [
        *(["server.public_url is not set: notices hold no link"] if unlinked else []),
        *_undeclared(settings),
        *_unheard(settings),
        *_unprepared(settings),
        *_kept_of_nothing(settings),
        *_reviews_of_nothing(settings),
    ]


def _undeclared(settings: Any) -> list[str]:
    return [
        f"sources.{name}: no `standing_accounts`: name what needs no grant, so that the use of "
        "any other account is found"
        for name, source in settings.sources.items()
        if source.resource and not source.standing_accounts
    ]


def _unheard(settings: Any) -> list[str]:
    return [
        f"sources.{name}: no `heartbeat`: say how long it may be silent, so that it is recorded "
        "when nothing comes any more"
        for name, source in settings.sources.items()
        if source.kind != "webhook" and source.heartbeat is None
    ]


def _unprepared(settings: Any) -> list[str]:
    return [
        f"resources.{name}: no `emergency_account`: name the sealed account that you would use if "
        "Muniment itself were down, so that its use can be noticed"
        for name, resource in settings.resources.items()
        if resource.emergency_account is None
    ]


def _kept_of_nothing(settings: Any) -> list[str]:
    """Of what is written differently nothing would be kept, and nobody would know."""
    resources = settings.resources
    there = {
        "resources": set(resources),
        "environments": {each.environment for each in resources.values()},
        "data": {each.data for each in resources.values()},
        "sources": {"*", *settings.sources},
    }
    return [
        f"retention.classes.{name}: `{what}` names `{named}`, of which there is nothing here"
        for name, section in settings.retention.classes.items()
        for what, known in there.items()
        for named in getattr(section, what)
        if named not in known
    ]


def _reviews_of_nothing(settings: Any) -> list[str]:
    return [
        f"campaigns.{section.name}: `resources` names `{named}`, which is not here"
        for section in settings.campaigns
        for named in section.resources
        if named not in settings.resources
    ]


def _groups_here(settings: Any) -> set[str]:
    people = settings.people.values()
    return {group for person in people if person.active for group in person.groups}


def _groups_come_from_elsewhere(settings: Any) -> bool:
    """Then who is in which is the log's to say: `--diff`."""
    return any(provider.groups != "file" for provider in settings.providers.values())


def _reviewed_by_nobody(settings: Any, manned: set[str]) -> list[str]:
    """A review without people goes its way all the same, and may take everybody's access."""
    meaning = {
        "reviewers": "it cannot be opened",
        "fallback": "what no reviewer may look at stays with nobody",
        "sign_off": "nobody can sign it",
    }
    return [
        f"campaigns.{section.name}: `{what}` is `{group}`, and nobody active is in that: {then}"
        for section in settings.campaigns
        for what, then in meaning.items()
        if (group := getattr(section, what)) not in manned
    ]


def _diff(folder: Path) -> tuple[list[str], set[str]]:
    """What a reload would record; and the groups in which another directory has somebody."""
    from muniment.access import records
    from muniment.operations.take_in import differences
    from muniment.runtime.wiring import open_service

    opened = open_service(folder, looking=True)
    try:
        changes = differences(opened.service, opened.proposed, records.SERVICE)
        known = list(opened.service.registry.principals.values())
        people = (each for each in known if each.type == "human" and each.active)
        groups = {name for each in people if each.source != "file" for name in each.groups}
        return [change.text for change in changes], groups
    finally:
        asyncio.run(opened.close())


async def _missing(connectors: Any) -> list[dict[str, Any]]:
    found = []
    for name, connector in connectors.items():
        try:
            rights = await connector.missing_rights()
        except MunimentError as error:
            found.append(
                {"resource": name, "right": "be reached", "remedy": str(error), "needed": True}
            )
        else:
            found += [{"resource": name, **vars(right)} for right in rights]
        await connector.close()
    return found


def _print_report(report: dict[str, Any]) -> None:
    click.echo("the configuration is valid")
    for warning in report["warnings"]:
        click.secho(f"warning: {warning}", fg="yellow")
    for line in report.get("changes", []):
        click.echo(f"  {line}")
    if "changes" in report and not report["changes"]:
        click.echo("nothing would change")
    missing = report.get("missing", [])
    for right in missing:
        lacks = "cannot" if right["needed"] else "is ready, but cannot"
        color = "red" if right["needed"] else "yellow"
        click.secho(f"{right['resource']}: {lacks} {right['right']}", fg=color)
        click.echo(f"    {right['remedy']}")
    for other in report.get("others", []):
        click.secho(f"{other['name']}: {other['says']}", fg=None if other["answers"] else "red")
    if "missing" in report and not any(right["needed"] for right in missing):
        click.echo("every target is ready")


@click.command("serve")
@folder_option
@click.option("--listen", metavar="HOST:PORT", help="Instead of `server.listen`.")
@click.option(
    "--role",
    type=click.Choice(["all", "api", "worker"]),
    default="all",
    show_default=True,
    help="What this one of several nodes does: answer (api), what is due (worker), or both.",
)
def serve_command(folder: Path, listen: str | None, role: Literal["all", "api", "worker"]) -> None:
    """
    Run the service: API and worker in one process, or one of them where nodes share a log.

    A worker answers /healthz, /readyz and /metrics only.
    """
    from muniment.interfaces.http.serving import serve

    serve(folder, listen, role)


@click.command("reload")
@folder_option
def reload_command(folder: Path) -> None:
    """
    Tell the running service to take changed files into the log.

    What needs no secret is looked at here; all of it by the service, which alone has the secrets.
    """
    from muniment.policy import bundle
    from muniment.runtime.files import read_policy
    from muniment.runtime.settings import read_settings

    settings = read_settings(folder)
    bundle.load(read_policy(folder / settings.paths.policy))
    lock = (folder / settings.paths.database).with_suffix(".lock")
    try:
        _check_held(lock)
        pid = int(lock.read_text())
        os.kill(pid, signal.SIGHUP)
    except (OSError, ValueError) as error:
        raise Conflict("no service is running on this folder") from error
    click.echo(f"process {pid} was told: its log says what it took in, or why it took in nothing")


def _check_held(lock: Path) -> None:
    """A number in the file means nothing unless its process still holds the lock."""
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
    raise Conflict("no service is running on this folder")


@click.group("token")
def token_command() -> None:
    """Make and revoke API tokens."""


@token_command.command("create")
@click.argument("login")
@folder_option
@click.option("--for", "length", default="90d", show_default=True, help="How long it is valid.")
@click.option("--label", default="", help="What it is for; sealed in the log.")
@json_option
def token_create(folder: Path, login: str, length: str, label: str, as_json: bool) -> None:
    """Make a token for LOGIN. It is shown once; the file and the log hold its hash."""
    from muniment.identity.tokens import new_token, token_hash
    from muniment.runtime import clock
    from muniment.runtime.settings import read_settings

    settings = read_settings(folder)
    if login not in {*settings.people, *settings.workloads, *settings.agents}:
        raise ConfigInvalid(f"`{login}` is not in the directory of `muniment.toml`; add it first")
    token, path = new_token(), folder / settings.paths.tokens
    expires = (clock.now() + timedelta(seconds=seconds(length))).astimezone(UTC)
    entry = (
        f"[{token_hash(token).hex()}]\nfor = {json.dumps(login)}\n"
        f"expires = {expires:%Y-%m-%dT%H:%M:%SZ}\nlabel = {json.dumps(label)}\n\n"
    )
    file = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
    with os.fdopen(file, "a", encoding="utf-8") as opened:
        opened.write(entry)
    if as_json:
        click.echo(json.dumps({"token": token, "for": login, "expires": f"{expires:%FT%TZ}"}))
        return
    click.echo(token)
    click.echo("shown once. It holds after the next start or `muniment reload`.", err=True)


@token_command.command("revoke")
@click.argument("beginning")
@folder_option
def token_revoke(folder: Path, beginning: str) -> None:
    """Revoke the token whose hash begins so (`tokens.toml` lists them)."""
    from muniment.runtime.settings import read_settings

    path = folder / read_settings(folder).paths.tokens
    tables = tomllib.loads(path.read_text("utf-8")) if path.exists() else {}
    found = [hash_ for hash_ in tables if hash_.startswith(beginning)]
    if len(found) != 1:
        raise Conflict(f"{len(found)} tokens begin with `{beginning}`")
    blocks = path.read_text("utf-8").split("\n\n")
    path.write_text("\n\n".join(b for b in blocks if not b.lstrip().startswith(f"[{found[0]}")))
    click.echo("it holds until the next start or `muniment reload`", err=True)
