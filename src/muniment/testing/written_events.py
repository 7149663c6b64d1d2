"""Events of a source in a log that was written by hand, and the file that shows them."""

from collections.abc import Collection, Sequence

from muniment.access import records
from muniment.evidence import event_batch
from muniment.operations.observing import case_of
from muniment.operations.prove_events import Place, assemble
from muniment.oversight.event import Event
from muniment.oversight.event_store import Arrived, Chunk
from muniment.oversight.link import NOBODY
from muniment.testing.cases import WrittenLog
from muniment.testing.events_in_memory import EventsInMemory

SOURCE = "orders-log"


def write_events(
    written: WrittenLog,
    sent: Sequence[bytes],
    *,
    shown: Collection[int],
    erased: Collection[int] = (),
) -> bytes:
    """
    Receive these records as the events of one batch, from number 0 on, and erase some of them.

    Returns the file with those that are shown, the erased ones among them by their commitments.
    """
    log_id, store = written.log.log_id, EventsInMemory()
    arrived = [_arrived(written, log_id, number, raw) for number, raw in enumerate(sent)]
    chunk = Chunk(
        source=SOURCE, resource="orders-prod", start=0, arrived=arrived, rejected=0, cursor=None,
        at=written.now,
    )  # fmt: skip
    store.add(chunk)
    received = records.EventsReceived(
        actor=records.SERVICE,
        source=SOURCE,
        resource="orders-prod",
        start=0,
        count=len(arrived),
        root=event_batch.root(each.commitment for each in arrived),
        rejected=0,
        first=written.now,
        last=written.now,
    )
    index = written.append(case_of(log_id, SOURCE), received).index
    store.erase(SOURCE, erased)
    places = [Place(SOURCE, number) for number in sorted(shown)]
    return assemble(written.log, store, {index: places}).data


def _arrived(written: WrittenLog, log_id: bytes, number: int, raw: bytes) -> Arrived:
    salt = event_batch.commitment(log_id, b"salt", SOURCE, number, b"")[: event_batch.SALT_SIZE]
    return Arrived(
        raw=raw,
        salt=salt,
        commitment=event_batch.commitment(log_id, salt, SOURCE, number, raw),
        event=Event(type="other", at=written.now),
        link=NOBODY,
    )
