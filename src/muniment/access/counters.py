"""
Counters: keys that some records move besides the head of their own case.

A decision that reads one is made again if it has moved: so what may be done once, or so many times,
is done no more often, on however many nodes.
"""

from collections.abc import Iterator, Mapping

from muniment.access import looking, records
from muniment.evidence.record import Header

#: moves whenever somebody is enrolled or a group is defined: names and accounts are given out once
DIRECTORY = "directory"
#: moves whenever what files say is put in force
FILES = "files"
#: moves whenever a hold is placed or released: no erasure passes one that was recorded before it
HOLDS = "holds"
#: moves whenever somebody begins to look at something: neither does it pass a review or a finding
LOOKS = "looks"
#: moves whenever somebody is made ineligible: what was withdrawn is not withdrawn once more
WITHDRAWALS = "withdrawals"
#: moves whenever a run of erasures is proposed: one at a time waits to be wanted
RUNS = "runs"
#: by kind of record: the counter that every record of this kind moves
_MOVED_BY: Mapping[str, str] = {
    records.PrincipalEnrolled.KIND: DIRECTORY,
    records.GroupDefined.KIND: DIRECTORY,
    records.ConfigChanged.KIND: FILES,
    records.PolicyActivated.KIND: FILES,
    records.RoleDefined.KIND: FILES,
    records.RoleWithdrawn.KIND: FILES,
    records.HoldPlaced.KIND: HOLDS,
    records.HoldReleased.KIND: HOLDS,
    records.EligibilityWithdrawn.KIND: WITHDRAWALS,
    records.ErasureProposed.KIND: RUNS,
}


def glass_counter(person: str) -> str:
    """Key of the counter that moves whenever this person breaks glass."""
    return f"broken-glass/{person}"


def signal_counter(identity: bytes) -> str:
    """Key of the counter that only this signal moves: so it is recorded once."""
    return f"signal/{identity.hex()}"


def campaign_counter(rule: str, occasion: str) -> str:
    """Key of the counter that only a campaign of this rule and occasion moves: one is enough."""
    return f"campaign/{rule}/{occasion}"


def erased_counter(case: str) -> str:
    """Key of the counter that moves whenever something of this case is erased: it goes once."""
    return f"erased/{case}"


def own_word_counter(person: str) -> str:
    """Key of the counter that moves whenever this person erases something by his own word."""
    return f"own-word/{person}"


def token_counter(token: bytes) -> str:
    """Key of the counter that moves when a platform's token, by its hash, opens a session."""
    return f"token/{token.hex()}"


def removal_counter(finding: str) -> str:
    """Key of the counter that only an order to remove what this finding is about moves."""
    return f"removal/{finding}"


def counters(header: Header) -> Iterator[str]:
    """The counters that a record moves, besides the head of its own case."""
    if header.kind in _MOVED_BY:
        yield _MOVED_BY[header.kind]
    if looking.moves(header):
        yield LOOKS
    yield from _of_erasures(header)
    if header.kind == records.RemovalOrdered.KIND:
        yield removal_counter(header.body["about"])
    if header.kind == records.CampaignOpened.KIND and header.body.get("occasion"):
        yield campaign_counter(header.body["rule"], header.body["occasion"])
    if header.kind == records.SessionOpened.KIND and header.body.get("method") == "workload":
        yield token_counter(bytes.fromhex(header.body["token"]))
    if breaks_glass(header):
        yield from (glass_counter(person) for person in records.parse(header).actor.persons)
    if header.kind == records.SignalReceived.KIND:
        yield signal_counter(bytes.fromhex(header.body["identity"]))


def _of_erasures(header: Header) -> Iterator[str]:
    if header.kind == records.RecordErased.KIND:
        yield erased_counter(header.body["record"].partition("/")[0])
        yield from (own_word_counter(person) for person in header.body["actor"]["persons"])
    if header.kind == records.EventsErased.KIND:
        yield erased_counter(header.body["batch"].partition("/")[0])


def breaks_glass(header: Header) -> bool:
    """Whether this record lets somebody break glass: asking for it in vain does not count."""
    return (
        header.kind == records.DecisionEvaluated.KIND
        and header.body.get("outcome") == "break_glass"
        and header.body.get("question") == "request"
    )
