"""The only place where ports meet what implements them."""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from muniment.access import records
from muniment.access.registry import Registry, counters
from muniment.errors import ConfigInvalid, LogUnavailable, MunimentError
from muniment.evidence.clock import SteadyClock
from muniment.evidence.founding import found_log
from muniment.evidence.log import Log
from muniment.evidence.note import SigningKey, VerifierKey
from muniment.evidence.record import Draft, digest
from muniment.evidence.signer import KeyAtHand, Keyring, Signer
from muniment.identity.oidc import SignIn
from muniment.identity.remote_signer import RemoteSigner
from muniment.operations.erase import Erasures, check_explained, erased_by, finish
from muniment.operations.erase_events import finish_events
from muniment.operations.providers import Providers
from muniment.operations.publishing import Publishing
from muniment.operations.service import Limits, Service, new_id
from muniment.operations.sweep import put_right, wrong_rows
from muniment.operations.take_in import Proposed, take_in
from muniment.oversight.retention import REFUSED
from muniment.runtime import clock
from muniment.runtime.callbacks import read_callbacks
from muniment.runtime.files import read_proposed
from muniment.runtime.following import Following
from muniment.runtime.key_files import KeyFolder, write_key
from muniment.runtime.log_stores import LogStores, find_database, open_stores
from muniment.runtime.notices import read_notifiers
from muniment.runtime.observing import observe_with, open_events
from muniment.runtime.outbound import CheckedOutbound
from muniment.runtime.overseeing import Overseeing, check_oversight
from muniment.runtime.providers import read_providers
from muniment.runtime.publishing import read_publishing
from muniment.runtime.settings import Settings
from muniment.stores.head_file import HeadFile, LedgerFile
from muniment.stores.one_server import OneServer
from muniment.stores.spool_file import SpoolFile
from muniment.stores.sqlite import SQLiteStore

_log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Opened:
    """A service on an open log, and what has to be closed with it."""

    service: Service
    settings: Settings
    proposed: Proposed
    #: None beside a running service, which sees to it
    overseeing: Overseeing | None
    stores: LogStores
    only: OneServer | None
    #: where people sign in, by the provider's name
    sign_ins: Mapping[str, SignIn]
    keys: KeyFolder
    #: the signing key in another process
    remote: RemoteSigner | None
    following: Following | None = None

    @property
    def shared(self) -> bool:
        """Whether other nodes may work on the same log."""
        return self.stores.shared is not None

    def follow(self) -> None:
        """From now on, take in what other nodes write as soon as they have written it."""
        if self.stores.shared is not None:
            loop, wake = asyncio.get_running_loop(), self.service.wake.set
            self.following = Following(
                self.service.log, self.stores.shared, lambda: loop.call_soon_threadsafe(wake)
            )

    async def close(self) -> None:
        if self.following is not None:
            await asyncio.to_thread(self.following.close)
        if self.overseeing is not None:
            await self.overseeing.sources.stop()
        await asyncio.to_thread(self.service.observing.close)
        for connector in self.service.connectors.values():
            await connector.close()
        self.service.log.close()
        # after a reload that failed, the two may be different connections
        self.service.log.keyring.close()
        if self.remote is not None:
            self.remote.close()
        self.stores.close()
        if self.only is not None:
            self.only.release()


def make_log(folder: Path, settings: Settings) -> SigningKey:
    """The first record of a new log, and its key. Raises `Conflict` where there is one already."""
    paths = settings.paths
    for path in (paths.database, paths.head, paths.erasures, paths.key):
        # sealed content, the key and the head are nobody else's to read
        (folder / path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = SigningKey.generate(settings.installation.origin)
    write_key(folder / paths.key, key)
    KeyFolder(folder / paths.key, key.name).new_sealing()
    store = SQLiteStore(folder / settings.paths.database)
    heads = HeadFile(folder / settings.paths.head)
    LedgerFile(folder / paths.erasures).make()
    found_log(store, heads, Keyring.of(key), _started(key))
    store.close()
    heads.close()
    return key


def open_service(folder: Path, *, looking: bool = False) -> Opened:
    """
    Read the files, open and check the log, put right what a projection has wrong.

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
    keys = _key_folder(folder, settings)
    remote = read_remote(settings, folder)
    keyring = read_keyring(keys, remote)
    proposed = _with_keys(proposed, keys, keyring)
    only = None if looking else _only_server(folder, settings)
    if only is not None:
        held.callback(only.release)
    stores = open_stores(folder, settings)
    held.callback(stores.close)
    log = Log(
        stores.database,
        stores.heads,
        keyring,
        SteadyClock(clock.now, clock.elapsed),
        counters=counters,
        space=stores.space,
        reserve=settings.log.reserve,
        give_way=clock.give_way,
        contradicted=stores.halted.why,
        shared=stores.shared is not None,
    )
    outbound = CheckedOutbound()
    read = read_providers(settings, folder, outbound)
    registry, erasures = Registry(), Erasures()
    known = erased_by(stores.ledger)
    log.open(registry.take, erasures.take)
    held.callback(log.close)
    if (why := stores.halted.why()) is not None:
        log.halt(why)
    service = Service(
        log=log,
        registry=registry,
        projections=stores.database,
        ledger=stores.ledger,
        erasures=erasures,
        spool=SpoolFile(folder / settings.paths.spool),
        connectors=proposed.connectors,
        prefix=settings.installation.prefix,
        limits=_limits(settings),
        business_hours=settings.calendar.open_at,
        space=stores.space,
        reserve=settings.log.reserve,
        callbacks=read_callbacks(settings, folder),
        outbound=outbound,
        notifiers=read_notifiers(settings, folder, outbound),
        public_url=_public_url(settings),
        publishing=read_publishing(settings, folder, cursors=stores.database),
        halted=stores.halted,
        providers=read.providers,
        sealing_key=keys.sealing(),
        shared=stores.shared is not None,
        configuration=digest(proposed.configuration),
    )
    erasures.rules = settings.retention.rules()
    observe_with(service, settings, open_events(folder, settings))
    held.callback(service.observing.close)
    if looking:
        check_explained(known, erasures)
    else:
        if log.trouble is None:
            settle_keys(log, keys, remote)
        finish(log, stores.ledger, erasures)
        finish_events(service)
        put_right(service, wrong_rows(service))
    return Opened(
        service=service,
        settings=settings,
        proposed=proposed,
        overseeing=None if looking else Overseeing.of(service, settings, folder),
        stores=stores,
        only=only,
        sign_ins=read.sign_ins,
        keys=keys,
        remote=remote,
    )


def _only_server(folder: Path, settings: Settings) -> OneServer:
    """Raises `Conflict` beside a running service on this folder, wherever its log lies."""
    if settings.store is None:
        find_database(folder, settings)
    lock = (folder / settings.paths.database).with_suffix(".lock")
    try:
        lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return OneServer(lock)
    except OSError as error:
        raise LogUnavailable(f"`{error.filename}` cannot be opened: {error.strerror}") from error


def hold_back(opened: Opened) -> None:
    """
    Files that were refused put nothing in force: what they alone say is left out until they hold.

    Access ends as before; nobody signs in by a provider, and nobody is told or asked anything.
    """
    in_force, service = opened.service.registry.configuration, opened.service
    if in_force is not None and in_force.digest == digest(opened.proposed.configuration):
        return  # something else in the files does not hold
    service.providers, opened.sign_ins = Providers(), {}
    service.callbacks, service.notifiers = {}, {}
    service.publishing, service.limits = Publishing(), Limits()
    service.erasures.rules = REFUSED


async def reload(opened: Opened, folder: Path, actor: records.Actor) -> list[str]:
    """Take changed files in. An invalid change raises and leaves everything as it was."""
    settings, proposed = read_proposed(folder)
    if settings.installation != opened.settings.installation:
        raise ConfigInvalid("`installation` is fixed: the log's first record holds it")
    callbacks = read_callbacks(settings, folder)
    notifiers = read_notifiers(settings, folder, CheckedOutbound())
    read = read_providers(settings, folder, CheckedOutbound())
    publishing = read_publishing(
        settings, folder, opened.service.publishing, opened.stores.database
    )
    check_oversight(settings, folder)
    keys = _key_folder(folder, settings)
    remote = read_remote(settings, folder, opened.remote)
    keyring = read_keyring(keys, remote)
    proposed = _with_keys(proposed, keys, keyring)
    before = opened.service.connectors
    # a key too many does no harm: the log's records say which ones sign
    opened.service.log.hold(keyring.joined(opened.service.log.keyring))
    changes = await take_in(opened.service, proposed, actor)
    settle_keys(opened.service.log, keys, remote)
    if opened.remote is not None and opened.remote is not remote:
        opened.remote.close()
    opened.remote = remote
    opened.service.limits = _limits(settings)
    opened.service.business_hours = settings.calendar.open_at
    opened.service.callbacks, opened.service.notifiers = callbacks, notifiers
    opened.service.public_url = _public_url(settings)
    opened.service.erasures.rules = settings.retention.rules()
    opened.service.publishing = publishing
    opened.service.providers, opened.sign_ins = read.providers, read.sign_ins
    opened.service.configuration = digest(proposed.configuration)
    opened.settings, opened.proposed, opened.keys = settings, proposed, keys
    if opened.overseeing is not None:
        opened.overseeing.change(settings)
    for connector in before.values():
        await connector.close()
    return [change.text for change in changes]


def read_keyring(keys: KeyFolder, remote: RemoteSigner | None) -> Keyring:
    """Whatever could sign. Raises `ConfigInvalid` if there is nothing, or something is no key."""
    signers: list[Signer] = [KeyAtHand(key) for key in keys.keys().values()]
    if remote is not None:
        signers.append(remote)
    if not signers:
        raise ConfigInvalid(f"the signing key `{keys.first}` cannot be read: it is not there")
    return Keyring(signers)


def read_remote(
    settings: Settings, folder: Path, before: RemoteSigner | None = None
) -> RemoteSigner | None:
    """The signer of `[signer]`; the one `before` where it is the same. It is not asked anything."""
    section = settings.signer
    if section is None:
        return None
    seconds = section.timeout.total_seconds()
    remote = RemoteSigner(section.verifier, folder / section.socket, seconds)
    return before if before is not None and before.place == remote.place else remote


def settle_keys(log: Log, keys: KeyFolder, remote: RemoteSigner | None) -> None:
    """
    Bring the files in line with what the log says of keys, and sign with those that are left.

    Evidence does not hang on it: what cannot be done now is done at the next start.
    """
    try:
        for path in keys.settle(log.keys, log.size):
            _log.warning("a key that the log has retired was set aside: `%s`", path)
        log.hold(read_keyring(keys, remote))
    except MunimentError as error:
        _log.error("the files of the signing keys stay as they are: %s", error)


def _key_folder(folder: Path, settings: Settings) -> KeyFolder:
    return KeyFolder(folder / settings.paths.key, settings.installation.origin)


def _with_keys(proposed: Proposed, keys: KeyFolder, keyring: Keyring) -> Proposed:
    return replace(proposed, keys=keyring.verifiers, retired=keys.retirements())


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
