"""
People at work on several nodes, what they were told, and how long each answer took.

Every story goes all the way: ask, have it approved where that is needed, pick up, use it at the
target, give it back or let it expire. Where a node fails, the other one is asked.
"""

import contextlib
import itertools
import secrets
import select
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Self, TypeAlias

import httpx
import psycopg

from acceptance.several_nodes import (
    APPROVER,
    GUARDED,
    OPEN,
    PEOPLE,
    ROLE,
    Cluster,
    Node,
)
from muniment.evidence import moment
from muniment.runtime import clock

#: one of so many people asks another node each time
ROAMING: Final = 3
#: seconds between two stories of one person
PACE: Final = 0.5
#: seconds that a grant holds which is left to expire, and one that is given back before
SHORT, LONG = 4, 600
#: seconds until a client gives up on one answer, and on what it wants
GIVE_UP, DESPAIR = 30.0, 60.0
#: seconds between two tries, and that a node which failed is left alone
AGAIN, AVOIDED = 0.1, 1.0
Session: TypeAlias = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True, kw_only=True)
class Call:
    """One question to one node."""

    node: str
    what: str
    #: by `time.monotonic`
    began: float
    took: float
    #: status of the answer; 0 where there was none
    status: int
    #: media type and text of an answer that is an error, or what went wrong
    said: str = ""

    @property
    def over(self) -> float:
        return self.began + self.took

    def during(self, outage: "Outage") -> bool:
        return self.node == outage.node and self.began <= outage.over and self.over >= outage.began


@dataclass(frozen=True, kw_only=True)
class Outage:
    """From when a node was harmed until it was ready again, by `time.monotonic`."""

    node: str
    how: str
    began: float
    #: when the harm was taken back, and when the node had recovered
    healed: float
    over: float


@dataclass(kw_only=True)
class Story:
    """One case, and what somebody was told of it."""

    case: str
    #: kinds of records that stand, as answers said
    acknowledged: list[str] = field(default_factory=list)
    receipts: list[str] = field(default_factory=list)
    #: when the window ends, and when a session that was left open died
    until: str = ""
    died: datetime | None = None


@dataclass(kw_only=True)
class Load:
    """A bounded number of people at work while it is entered; they finish what they have begun."""

    cluster: Cluster = field(repr=False)
    people: int = 6
    pace: float = PACE
    calls: list[Call] = field(default_factory=list, repr=False)
    stories: list[Story] = field(default_factory=list, repr=False)
    finished: int = 0
    #: bugs and despair of the clients: empty in the end
    wrong: list[str] = field(default_factory=list)
    #: by person: the node, the question, and since when it waits for an answer
    asking: dict[str, tuple[str, str, float]] = field(default_factory=dict, repr=False)
    #: what nobody else may come to see
    handed_out: list[str] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._numbers = itertools.count()
        self._watcher = Watcher()
        self._threads = [
            threading.Thread(target=self._work, args=(login, turn), name=login, daemon=True)
            for turn, login in enumerate(PEOPLE[: self.people])
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Returns when every story that was begun is over, but for what expires by itself."""
        self._stop.set()
        for thread in self._threads:
            thread.join(DESPAIR + GIVE_UP)
            assert not thread.is_alive(), f"{thread.name} still waits"
        self._watcher.close(SHORT + 10.0)

    def _work(self, login: str, turn: int) -> None:
        with httpx.Client(timeout=GIVE_UP) as http:
            roams = turn % ROAMING == ROAMING - 1
            client = _Client(load=self, http=http, login=login, turn=turn, roams=roams)
            while not self._stop.wait(self.pace):
                number = next(self._numbers)
                try:
                    client.tell(number)
                except Exception as error:  # noqa: BLE001 (whatever it is, the test has to say it)
                    self.wrong.append(f"story {number} of {login}: {error!r}")
                self.finished += 1

    def await_progress(self, seconds: float) -> None:
        """Somebody gets something done, from now on."""
        done, deadline = self.finished, time.monotonic() + seconds
        while self.finished == done:
            now = time.monotonic()
            waits = [
                f"{who}: {node} {what} for {now - t:.1f} s"
                for who, (node, what, t) in list(self.asking.items())
            ]
            assert now < deadline, f"nobody gets anything done: {waits}; {self.wrong}"
            time.sleep(AGAIN)

    def watch(self, session: Session, story: Story) -> None:
        self._watcher.add(session, story)


class Watcher:
    """Notes when open sessions at the target die: the server says goodbye to each."""

    def __init__(self) -> None:
        self._sessions: dict[int, tuple[Session, Story]] = {}
        self._poll = select.poll()
        self._closing: float | None = None
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)
        self._thread.start()

    def add(self, session: Session, story: Story) -> None:
        self._sessions[session.fileno()] = session, story
        self._poll.register(session.fileno(), select.POLLIN)

    def close(self, seconds: float) -> None:
        """When all have died, or the time is over."""
        self._closing = time.monotonic() + seconds
        self._thread.join()

    def _run(self) -> None:
        while self._closing is None or (self._sessions and time.monotonic() < self._closing):
            for number, _ in self._poll.poll(100):
                session, story = self._sessions.pop(number)
                story.died = clock.now()
                self._poll.unregister(number)
                session.close()
        for session, _ in self._sessions.values():
            session.close()


@dataclass(kw_only=True)
class _Client:
    """One person, who turns to another node where one fails."""

    load: Load
    http: httpx.Client
    login: str
    #: which node is asked first
    turn: int
    #: whether another one is asked each time; who does not has nothing to do with others' outages
    roams: bool
    #: by `time.monotonic`: nodes that failed are left alone until then
    _avoided: dict[str, float] = field(default_factory=dict)

    def tell(self, number: int) -> None:
        resource = GUARDED if number % 3 == 1 else OPEN
        expires = number % 3 == 2
        story = self._ask(resource, SHORT if expires else LONG)
        if resource == GUARDED:
            self._have_approved(story)
        picked = self._pick_up(story)
        if picked is None:
            return
        session = self._use(story, picked)
        if session is None:
            return
        if expires:
            self.load.watch(session, story)
            return
        try:
            self._end(story)
            _must_be_dead(session)
        finally:
            session.close()

    def _ask(self, resource: str, seconds: int) -> Story:
        wish = {"resource": resource, "role": ROLE, "seconds": seconds, "ticket": "OPS-1"}
        answer = self._insist("POST", "/v1/cases", wish, key=secrets.token_hex(8))
        assert answer.status_code == 201, answer.text
        story = Story(case=answer.json()["case"], acknowledged=["access:requested"])
        self.load.stories.append(story)
        return story

    def _have_approved(self, story: Story) -> None:
        path, key = f"/v1/cases/{story.case}/approval", secrets.token_hex(8)
        answer = self._insist("POST", path, {}, key=key, login=APPROVER)
        if answer.status_code == 409:  # a try before was not answered, and went through
            assert "this was answered already" in answer.text, answer.text
        else:
            assert answer.status_code == 200, answer.text
        story.acknowledged.append("approval:given")

    def _pick_up(self, story: Story) -> dict[str, Any] | None:
        """None where the window was over before anything came of it."""
        deadline = time.monotonic() + DESPAIR
        while True:
            answer = self._insist("POST", f"/v1/cases/{story.case}/credential")
            said = answer.json()
            if answer.status_code == 200:
                story.acknowledged += ["grant:authorized", "credential:issued"]
                story.receipts.append(said["receipt"])
                story.until = said["until"]
                credential: dict[str, Any] = said["credential"]
                self.load.handed_out.append(credential["secret"])
                return credential
            assert answer.status_code == 409, answer.text
            if _is_over(said["detail"]):
                return None
            assert _passes(said["detail"]), said
            assert time.monotonic() < deadline, f"no pick-up: {said}"
            time.sleep(AGAIN)

    def _use(self, story: Story, credential: dict[str, Any]) -> Session | None:
        """None where the window ended on the way to the target."""
        connection = credential["connection"]
        with contextlib.ExitStack() as opened:
            try:
                session = psycopg.connect(
                    host=connection["host"],
                    port=connection["port"],
                    dbname=connection["database"],
                    user=credential["account"],
                    password=credential["secret"],
                    autocommit=True,
                )
                opened.callback(session.close)
                session.execute("SELECT 1")
            except psycopg.OperationalError:
                if clock.now() < moment.parse(story.until):
                    raise
                return None
            opened.pop_all()
        return session

    def _end(self, story: Story) -> None:
        path = f"/v1/cases/{story.case}/end"
        answer = self._insist("POST", path)
        if answer.status_code == 409:  # a try before was not answered, and went through
            assert "there is no access to end" in answer.text, answer.text
        else:
            assert answer.status_code == 200, answer.text
        story.acknowledged.append("grant:ended")
        while not self._is_closed(story):
            time.sleep(AGAIN)
        story.acknowledged += ["removal:verified", "case:closed"]

    def _is_closed(self, story: Story) -> bool:
        answer = self._insist("GET", f"/v1/cases/{story.case}")
        assert answer.status_code == 200, answer.text
        closed: bool = answer.json()["closed"]
        return closed

    # --- nodes ---------------------------------------------------------------------------------

    def _insist(
        self, method: str, path: str, body: Any = None, *, key: str | None = None, login: str = ""
    ) -> httpx.Response:
        """Ask one node after the other, until one answers with something else than its failure."""
        deadline = time.monotonic() + DESPAIR
        while True:
            node = self._next()
            answer = self._call(node, method, path, body, key, login or self.login)
            if answer is not None and answer.status_code < 500:
                return answer
            self._avoided[node.name] = time.monotonic() + AVOIDED
            assert time.monotonic() < deadline, f"nobody answers {method} {path}"
            time.sleep(AGAIN)

    def _next(self) -> Node:
        """One's own, or in turn, so that stories go over all nodes; those that failed come last."""
        self.turn += self.roams
        nodes = self.load.cluster.apis
        nodes = nodes[self.turn % len(nodes) :] + nodes[: self.turn % len(nodes)]
        now = time.monotonic()
        return min(nodes, key=lambda node: max(0.0, self._avoided.get(node.name, 0.0) - now))

    def _call(
        self, node: Node, method: str, path: str, body: Any, key: str | None, login: str
    ) -> httpx.Response | None:
        headers = {"Authorization": f"Bearer {self.load.cluster.tokens[login]}"}
        if key is not None:
            headers["Idempotency-Key"] = key
        verb = path.rpartition("/")[2] if path.count("/") > 3 else path.rpartition("/")[0]
        what, began = f"{method} {verb}", time.monotonic()
        answer, status, said = None, 0, ""
        self.load.asking[self.login] = node.name, what, began
        try:
            answer = self.http.request(method, node.url + path, json=body, headers=headers)
        except httpx.TransportError as error:
            said = f"{type(error).__name__}: {error}"
        else:
            status = answer.status_code
            if status >= 400:
                said = f"{answer.headers.get('content-type')} {answer.text}"
        took = time.monotonic() - began
        del self.load.asking[self.login]
        self.load.calls.append(
            Call(node=node.name, what=what, began=began, took=took, status=status, said=said)
        )
        return answer


def _passes(detail: str) -> bool:
    """What is in the way of a pick-up for a moment only."""
    return any(
        words in detail
        for words in (
            "is being made at this moment",
            "the case is authorized",  # by a node that fell; a worker is about to undo it
            "is being taken back",
            "another credential was asked for",
            "access ended while the credential was being made",
        )
    )


def _is_over(detail: str) -> bool:
    return "window of this grant is over" in detail or "the case is expired" in detail


def _must_be_dead(session: Session) -> None:
    with contextlib.suppress(psycopg.OperationalError):
        session.execute("SELECT 1")
        raise AssertionError("a session outlives the end of its grant")


# --- harm --------------------------------------------------------------------------------------

#: what can happen to a node, in words: killed, frozen, or cut from a server
HARMS: Final = (
    "killed",
    "frozen",
    *(f"{how} {server}" for how in ("cut", "silent") for server in ("log", "heads", "both")),
)


@contextlib.contextmanager
def harmed(
    cluster: Cluster, node: Node, how: str, outages: list[Outage], recovering: float
) -> Iterator[None]:
    """
    While it is entered; then it has to recover in time.

    It has once it is ready and follows again: one that was cut off for less than its patience has
    not noticed yet, and was ready all the time.
    """
    began = time.monotonic()
    _harm(node, how)
    yield
    healed = time.monotonic()
    _heal(node, how)
    node.await_ready(recovering)
    node.await_size(cluster.size(), recovering - (time.monotonic() - healed))
    over = time.monotonic()
    outages.append(Outage(node=node.name, how=how, began=began, healed=healed, over=over))


def _harm(node: Node, how: str) -> None:
    if how == "killed":
        node.kill()
    elif how == "frozen":
        node.freeze()
    else:
        manner, _, server = how.partition(" ")
        for wire in node.wires.of(server):
            (wire.cut if manner == "cut" else wire.silence)()


def _heal(node: Node, how: str) -> None:
    if how == "killed":
        node.start()
    elif how == "frozen":
        node.thaw()
    else:
        for wire in node.wires.of("both"):
            wire.heal()


# --- waits -------------------------------------------------------------------------------------


def spared(calls: Sequence[Call], outages: Sequence[Outage]) -> list[Call]:
    """Those at nodes that nothing had happened to."""
    return [call for call in calls if not any(call.during(outage) for outage in outages)]


def at_cut_nodes(calls: Sequence[Call], outages: Sequence[Outage]) -> list[Call]:
    """Those at nodes that lived and could not reach a server."""
    cuts = [outage for outage in outages if outage.how not in ("killed", "frozen")]
    return [call for call in calls if any(call.during(outage) for outage in cuts)]
