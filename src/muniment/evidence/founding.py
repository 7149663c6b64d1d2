"""The first record of a log: it names the log's first key, and everything hangs on it."""

from collections.abc import Callable

from muniment.errors import Conflict
from muniment.evidence import merkle, moment
from muniment.evidence.checkpoint import Checkpoint
from muniment.evidence.note import VerifierKey
from muniment.evidence.record import Draft, Header
from muniment.evidence.signer import Extension, Keyring
from muniment.evidence.store import Batch, Entry, HeadStore, LogStore


def found_log(
    store: LogStore, heads: HeadStore, keyring: Keyring, drafted: Callable[[VerifierKey], Draft]
) -> Entry:
    """
    Write entry 0, `log:started`, which names the first key of the ring. Its leaf hash is the log
    id.

    Raises `Conflict` where the store or the head store has a log already.
    """
    key = keyring.verifiers[0]
    draft = drafted(key)
    header = Header(
        kind=draft.kind, fold=draft.fold, case=draft.case, position=0,
        at=moment.whole(draft.at), body=draft.body, prev=None,
    )  # fmt: skip
    data = header.encode()
    entry = Entry(0, data, merkle.leaf_hash(data), header)
    text = Checkpoint(key.name, 1, merkle.root([entry.leaf])).format()
    note = keyring.sign(Extension(size=0, peaks=(), leaves=(entry.leaf,), text=text), [key])
    with heads.lock():
        if heads.read() is not None:
            raise Conflict("the head store remembers a log already; it belongs to another data set")
        store.found(Batch((entry,), {}, {}, {}, 1, (), note, ()))
        heads.write(note, 1)
    return entry
