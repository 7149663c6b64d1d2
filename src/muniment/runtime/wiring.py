"""The only place where ports meet what implements them."""

import contextlib
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from muniment.access import records
from muniment.access.registry import Registry, counters
from muniment.errors import ConfigInvalid, EvidenceError, LogUnavailable
from muniment.evidence.clock import SteadyClock
from muniment.evidence.log import Log, found_log
from muniment.evidence.note import SigningKey, VerifierKey
from muniment.evidence.record import Draft
from muniment.identity.oidc import SignIn
from muniment.operations.erase import Erasures, reapply
from muniment.operations.service import Limits, Service, new_id
from muniment.operations.sweep import rebuild, wrong_rows
from muniment.operations.take_in import Proposed, take_in
from muniment.runtime import clock
from muniment.runtime.callbacks import read_callbacks
from muniment.runtime.files import read_proposed
from muniment.runtime.notices import read_notifiers
from muniment.runtime.outbound import CheckedOutbound
from muniment.runtime.providers import read_providers
from muniment.runtime.settings import Settings
from muniment.stores.head_file import HeadFile, LedgerFile
from muniment.stores.spool_file import SpoolFile
from muniment.stores.sqlite import OneServer, SQLiteStore


@dataclass(kw_only=True)
class Opened:
    """A service on an open log, and what has to be closed with it."""

    service: Service
    settings: Settings
    proposed: Proposed
    store: SQLiteStore
    heads: HeadFile
    only: OneServer | None
    #: where people sign in, by the provider's name
    sign_ins: Mapping[str, SignIn]

    async def close(self) -> None:
        for connector in self.service.connectors.values():
            await connector.close()
        self.service.log.close()
        self.store.close()
        self.heads.close()
        if self.only is not None:
            self.only.release()


def make_log(folder: Path, settings: Settings) -> SigningKey:
    """The first record of a new log, and its key. Raises `Conflict` where there is one already."""
    for path in (settings.paths.database, settings.paths.head, settings.paths.key):
        # sealed content, the key and the head are nobody else's to read
        (folder / path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = SigningKey.generate(settings.installation.origin)
    path = folder / settings.paths.key
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(file, "w") as opened:
        opened.write(key.skey + "\n")
    path.with_suffix(".vkey").write_text(key.verifier.vkey + "\n")
    store = SQLiteStore(folder / settings.paths.database)
    heads = HeadFile(folder / settings.paths.head)
    found_log(store, heads, key, _started(key))
    store.close()
    heads.close()
    return key


def open_service(folder: Path, *, looking: bool = False) -> Opened:
    """
    Read the files, open and check the log, rebuild what a projection has wrong.

    With `looking`, beside a running service: nothing is rebuilt and nothing may be appended.

    Raises `ConfigInvalid`, `LogInvalid` or `Conflict` saying what to do. Takes nothing in yet.
    """
    with contextlib.ExitStack() as held:
        opened = _open_service(folder, held, looking=looking)
        held.pop_all()
    return opened


def _open_service(folder: Path, held: contextlib.ExitStack, *, looking: bool) -> Opened:
    """What is `held` is let go again if anything goes wrong."""
    settings, proposed = read_proposed(folder)
    key = read_key(folder / settings.paths.key, settings.installation.origin)
    database = folder / settings.paths.database
    try:
        if not database.exists():
            raise ConfigInvalid(f"there is no log at `{database}`; `muniment init` makes one")
        only = None if looking else OneServer(database.with_suffix(".lock"))
    except OSError as error:
        raise LogUnavailable(f"`{error.filename}` cannot be opened: {error.strerror}") from error
    if only is not None:
        held.callback(only.release)
    store = held.enter_context(contextlib.closing(SQLiteStore(database)))
    heads = held.enter_context(contextlib.closing(HeadFile(folder / settings.paths.head)))

    def space() -> int:
        return shutil.disk_usage(database.parent).free

    log = Log(
        store,
        heads,
        key,
        SteadyClock(clock.now, clock.elapsed),
        counters=counters,
        space=space,
        reserve=settings.log.reserve,
        give_way=clock.give_way,
    )
    outbound = CheckedOutbound()
    read = read_providers(settings, folder, outbound)
    registry, erasures = Registry(), Erasures()
    log.open(registry.take, erasures.take)
    held.callback(log.close)
    service = Service(
        log=log,
        registry=registry,
        projections=store,
        ledger=LedgerFile(folder / settings.paths.erasures),
        erasures=erasures,
        spool=SpoolFile(folder / settings.paths.spool),
        connectors=proposed.connectors,
        prefix=settings.installation.prefix,
        limits=_limits(settings),
        business_hours=settings.calendar.open_at,
        space=space,
        reserve=settings.log.reserve,
        callbacks=read_callbacks(settings, folder),
        outbound=outbound,
        notifiers=read_notifiers(settings, folder, outbound),
        public_url=_public_url(settings),
        providers=read.providers,
        sealing_key=key.derive("sealing"),
    )
    if not looking:
        reapply(log, service.ledger)
        if wrong_rows(service):
            rebuild(service)
    return Opened(
        service=service,
        settings=settings,
        proposed=proposed,
        store=store,
        heads=heads,
        only=only,
        sign_ins=read.sign_ins,
    )


async def reload(opened: Opened, folder: Path, actor: records.Actor) -> list[str]:
    """Take changed files in. An invalid change raises and leaves everything as it was."""
    settings, proposed = read_proposed(folder)
    if settings.installation != opened.settings.installation:
        raise ConfigInvalid("`installation` is fixed: the log's first record holds it")
    callbacks = read_callbacks(settings, folder)
    notifiers = read_notifiers(settings, folder, CheckedOutbound())
    read = read_providers(settings, folder, CheckedOutbound())
    before = opened.service.connectors
    changes = await take_in(opened.service, proposed, actor)
    opened.service.limits = _limits(settings)
    opened.service.business_hours = settings.calendar.open_at
    opened.service.callbacks, opened.service.notifiers = callbacks, notifiers
    opened.service.public_url = _public_url(settings)
    opened.service.providers, opened.sign_ins = read.providers, read.sign_ins
    opened.settings, opened.proposed = settings, proposed
    for connector in before.values():
        await connector.close()
    return [change.text for change in changes]


def read_key(path: Path, origin: str) -> SigningKey:
    """Raises `ConfigInvalid` if others may read it, or if it is not this log's."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        text = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigInvalid(f"the signing key `{path}` cannot be read") from error
    if mode & 0o077:
        raise ConfigInvalid(f"others may read the signing key: chmod 600 {path}")
    try:
        key = SigningKey.parse(text)
    except EvidenceError as error:
        raise ConfigInvalid(f"`{path}` holds no signing key") from error
    if key.name != origin:
        raise ConfigInvalid(f"the signing key is of `{key.name}`, not of `{origin}`")
    return key


def _started(key: SigningKey) -> Callable[[VerifierKey], Draft]:
    def draft(verifier: VerifierKey) -> Draft:
        record = records.LogStarted(
            actor=records.SERVICE,
            origin=key.name,
            key=verifier.vkey,
            nonce=secrets.token_bytes(32),
        )
        return record.draft(new_id("log"), clock.now())

    return draft


def _public_url(settings: Settings) -> str:
    return (settings.server.public_url or "").rstrip("/")


def _limits(settings: Settings) -> Limits:
    limits = settings.limits
    return Limits(
        approval_window=limits.approval_window,
        pickup_window=limits.pickup_window,
        order_timeout=limits.order_timeout,
        asks_per_minute=limits.asks_per_minute,
        review_window=limits.review_window,
    )
