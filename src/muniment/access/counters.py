"""
Counters: keys that some records move besides the head of their own case.

A decision that reads one is made again if it has moved: so what may be done once, or so many times,
is done no more often, on however many nodes.
"""

from collections.abc import Iterator

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
_OF_HOLDS = (records.HoldPlaced.KIND, records.HoldReleased.KIND)
_OF_FILES = (
    records.ConfigChanged.KIND,
    records.PolicyActivated.KIND,
    records.RoleDefined.KIND,
    records.RoleWithdrawn.KIND,
)


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


def counters(header: Header) -> Iterator[str]:
    """The counters that a record moves, besides the head of its own case."""
    if header.kind in (records.PrincipalEnrolled.KIND, records.GroupDefined.KIND):
        yield DIRECTORY
    if header.kind in _OF_FILES:
        yield FILES
    if header.kind in _OF_HOLDS:
        yield HOLDS
    if looking.moves(header):
        yield LOOKS
    yield from _of_erasures(header)
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
