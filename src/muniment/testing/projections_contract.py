"""
The contracts of what lies beside the log, as tests: ledger of erasures, spool, projections.

Subclass a contract in a test module and give pytest the fixtures that it names. Those that open
something are functions: each call opens the same data anew, as the next start would.
"""

# ruff: noqa: S101 - a contract is made of asserts

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

import pytest

from muniment.evidence.store import ErasureLedger
from muniment.oversight.siem import Cursors, Progress
from muniment.ports import Answer, CaseRow, Due, Projections, Spool

_PATIENCE = 20


class ErasureLedgerContract:
    """Needs the fixture `open_ledger`."""

    def test_what_was_erased_is_remembered_in_order(
        self, open_ledger: Callable[[], ErasureLedger]
    ) -> None:
        ledger = open_ledger()
        assert ledger.erasures() == []
        erasures = [
            ("mun_a/0", "reason", "GDPR 17"),
            ("mun_a/0", "note", "R"),
            ("b/1", "note", "R"),
        ]
        for number, erasure in enumerate(erasures, 1):
            ledger.add(*erasure)
            assert ledger.erasures() == open_ledger().erasures() == erasures[:number]

    def test_the_same_erasure_is_remembered_once(
        self, open_ledger: Callable[[], ErasureLedger]
    ) -> None:
        for _ in range(3):
            open_ledger().add("mun_a/0", "reason", "GDPR 17, “Löschung”\n")
        assert open_ledger().erasures() == [("mun_a/0", "reason", "GDPR 17, “Löschung”\n")]

    def test_many_erasures_are_remembered_at_once_and_each_of_them_once(
        self, open_ledger: Callable[[], ErasureLedger]
    ) -> None:
        open_ledger().add("mun_a/1", "note", "R")
        many = [(f"mun_a/{number}", "note", "R") for number in range(100)]
        for _ in range(2):
            open_ledger().add_many(many)
        open_ledger().add_many([])
        assert open_ledger().erasures() == [many[1], many[0], *many[2:]]


class CursorsContract:
    """Needs the fixture `open_cursors`."""

    def test_a_sink_that_was_never_begun_is_nowhere(
        self, open_cursors: Callable[[], Cursors]
    ) -> None:
        assert open_cursors().progress("siem") is None

    def test_how_far_a_sink_is_is_seen_by_everybody_else(
        self, open_cursors: Callable[[], Cursors]
    ) -> None:
        cursors = open_cursors()
        steps = [Progress(0), Progress(17, 16), Progress(1 << 40, (1 << 40) - 3), Progress(9, None)]
        for progress in steps:
            cursors.put_progress("siem", progress)
            assert cursors.progress("siem") == open_cursors().progress("siem") == progress

    def test_each_sink_is_where_it_is(self, open_cursors: Callable[[], Cursors]) -> None:
        cursors = open_cursors()
        cursors.put_progress("siem", Progress(7, 6))
        cursors.put_progress("lake", Progress(3, 1))
        assert open_cursors().progress("siem") == Progress(7, 6)
        assert open_cursors().progress("lake") == Progress(3, 1)


class SpoolContract:
    """Needs the fixture `open_spool`."""

    def test_what_waits_comes_out_oldest_first(self, open_spool: Callable[[], Spool]) -> None:
        spool = open_spool()
        assert spool.waiting() == []
        lines = [{"case": f"mun_{n}", "body": {"n": n, "text": "a\nb"}} for n in range(4)]
        for number, line in enumerate(lines, 1):
            spool.add(line)
            assert spool.waiting() == open_spool().waiting() == lines[:number]

    def test_what_stands_in_the_log_is_cleared_from_the_front(
        self, open_spool: Callable[[], Spool]
    ) -> None:
        spool = open_spool()
        for number in range(4):
            spool.add({"n": number})
        spool.clear(1)
        assert open_spool().waiting() == [{"n": 1}, {"n": 2}, {"n": 3}]
        spool.add({"n": 4})
        spool.clear(2)
        assert open_spool().waiting() == [{"n": 3}, {"n": 4}]
        spool.clear(2)
        assert open_spool().waiting() == []
        spool.add({"n": 5})
        assert open_spool().waiting() == [{"n": 5}]

    def test_a_large_line_comes_out_again(self, open_spool: Callable[[], Spool]) -> None:
        """The outcome of an end on many endpoints; it must not block those behind it."""
        large = {"endpoints": [{"endpoint": f"replica-{n}", "sessions": n} for n in range(2000)]}
        open_spool().add(large)
        open_spool().add({"n": 1})
        assert open_spool().waiting() == [large, {"n": 1}]

    def test_many_threads_add_whole_lines(self, open_spool: Callable[[], Spool]) -> None:
        spool = open_spool()

        def write(writer: int) -> None:
            for number in range(10):
                spool.add({"writer": writer, "n": number})

        threads = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(_PATIENCE)
        waiting = open_spool().waiting()
        assert len(waiting) == 40  # noqa: PLR2004 (four writers, ten lines each)
        for writer in range(4):
            assert [line["n"] for line in waiting if line["writer"] == writer] == list(range(10))


# --- projections ---------------------------------------------------------------------------------


def case_row(case: str, **changes: Any) -> CaseRow:
    row = CaseRow(
        case=case, kind="access", state="pending", requester="prn_a", resource="orders-prod",
        role="readwrite", groups=("sre-leads", "security"), marked=False,
        opened_at="2026-11-21T10:00:00.000Z", changed_at="2026-11-21T10:00:01.000Z", until=None,
        about="", records=2,
    )  # fmt: skip
    return replace(row, **changes)


class Writes(Protocol):
    """Carries companions out, as an append does; returns the case of its one record."""

    def __call__(self, *companions: Any) -> str: ...


class ProjectionsContract:
    """
    Needs the fixtures `open_projections` and `write`.

    `write` appends records with these companions; it raises what the append raises.
    """

    def test_a_row_is_read_back_as_it_was(
        self, open_projections: Callable[[], Projections], write: Writes
    ) -> None:
        rows = [
            case_row("mun_a"),
            case_row("mun_b", until="2026-11-21T11:00:00.000Z", groups=(), marked=True),
            case_row("rev_c", kind="review", about="mun_b", groups=("one",), records=9),
        ]
        write(*rows)
        for projections in (open_projections(), open_projections()):
            assert [projections.case_row(row.case) for row in rows] == rows
            assert projections.case_row("mun_x") is None

    def test_a_newer_row_takes_the_place_of_the_older(
        self, open_projections: Callable[[], Projections], write: Writes
    ) -> None:
        write(case_row("mun_a"))
        newer = case_row("mun_a", state="closed", records=7)
        write(newer)
        assert open_projections().cases() == [newer]

    def test_lists_are_newest_first_and_chosen_by_what_is_asked(
        self, open_projections: Callable[[], Projections], write: Writes
    ) -> None:
        rows = [
            case_row(f"mun_{n}", opened_at=f"2026-11-21T10:00:0{n}.000Z",
                     state=("pending", "issued", "closed")[n % 3], requester=f"prn_{n % 2}")
            for n in range(6)
        ]  # fmt: skip
        review = case_row("rev_1", kind="review", about="mun_3", state="open")
        write(*rows, review)
        projections = open_projections()

        def ids(**asked: Any) -> list[str]:
            return [row.case.partition("_")[2] for row in projections.cases(**asked)]

        assert ids() == ["5", "4", "3", "2", "1", "0"]
        assert ids(states=["pending"]) == ["3", "0"]
        assert ids(states=["pending", "issued"]) == ["4", "3", "1", "0"]
        assert ids(requester="prn_1") == ["5", "3", "1"]
        assert ids(requester="prn_1", states=["pending"]) == ["3"]
        assert ids(kind="review", about="mun_3") == ["1"]
        assert ids(kind="review", about="mun_4") == []
        assert ids(limit=2) == ["5", "4"]
        assert ids(requester="' OR 1=1 --") == []

    def test_pages_follow_one_another_without_gap_or_repeat(
        self, open_projections: Callable[[], Projections], write: Writes
    ) -> None:
        """Also where many cases were opened in the same millisecond."""
        write(*(case_row(f"mun_{n:02}") for n in range(25)))
        projections, seen, before = open_projections(), [], None
        while page := projections.cases(limit=4, before=before):
            seen += [row.case for row in page]
            before = page[-1].case
        assert seen == [f"mun_{n:02}" for n in reversed(range(25))]

    def test_ids_are_found_by_their_beginning(
        self, open_projections: Callable[[], Projections], write: Writes
    ) -> None:
        write(*(case_row(case) for case in ("mun_aa", "mun_ab", "mun_b", "tst_a")))
        projections = open_projections()
        assert projections.case_ids("mun_a") == ["mun_aa", "mun_ab"]
        assert projections.case_ids("mun_aa") == ["mun_aa"]
        assert projections.case_ids("mun_", limit=10) == ["mun_aa", "mun_ab", "mun_b"]
        assert projections.case_ids("", limit=10) == ["mun_aa", "mun_ab", "mun_b", "tst_a"]
        assert projections.case_ids("%") == []
        assert projections.case_ids("mun_aaa") == []

    def test_due_work_comes_up_at_its_moment_the_most_overdue_first(
        self, open_projections: Callable[[], Projections], write: Writes
    ) -> None:
        at = "2026-11-21T10:00:0{}.000Z".format
        write(*(Due(case=f"mun_{n}", at=at(n)) for n in (3, 1, 2)))
        projections = open_projections()
        assert projections.due(at(0)) == []
        assert projections.due(at(2)) == ["mun_1", "mun_2"]
        assert projections.due(at(9), limit=1) == ["mun_1"]
        assert projections.due_at("mun_2") == at(2)
        assert projections.next_due(at(1)) == at(2)
        assert projections.next_due(at(3)) is None

    def test_due_work_is_moved_and_cleared(
        self, open_projections: Callable[[], Projections], write: Writes
    ) -> None:
        write(Due(case="mun_a", at="2026-11-21T10:00:00.000Z"))
        write(Due(case="mun_a", at="2026-11-21T11:00:00.000Z"))
        projections = open_projections()
        assert projections.due("2026-11-21T10:30:00.000Z") == []
        write(Due(case="mun_a", at=None), Due(case="mun_x", at=None))
        assert projections.due("2027") == []
        assert projections.due_at("mun_a") is None

    def test_due_work_is_claimed_but_not_what_is_worked_on_or_rests(
        self, open_projections: Callable[[], Projections], write: Writes
    ) -> None:
        at = "2026-11-21T10:00:0{}.000Z".format
        write(*(Due(case=f"mun_{n}", at=at(n)) for n in range(5)), Due(case="notice/x", at=at(1)))
        projections = open_projections()
        assert projections.claim(at(2)) == ["mun_0", "mun_1", "mun_2"]
        assert projections.claim(at(2)) == ["mun_0", "mun_1", "mun_2"], "what is ours stays ours"
        assert projections.claim(at(9), 2, working=["mun_0"], resting=["mun_2"]) == [
            "mun_1",
            "mun_3",
        ]
        assert projections.claim(at(9), callbacks=True) == ["notice/x"]
        write(Due(case="mun_1", at=None), Due(case="mun_2", at=at(8)))
        assert projections.claim(at(4)) == ["mun_0", "mun_3", "mun_4"]

    def test_the_first_answer_under_a_key_stays(
        self, open_projections: Callable[[], Projections], write: Writes
    ) -> None:
        answer = Answer(
            principal="prn_a", operation="request", key="k", body=b"\1" * 32, case="mun_a", at="t"
        )
        write(answer)
        write(replace(answer, case="mun_b"))
        write(replace(answer, principal="prn_b", case="mun_c"))
        write(replace(answer, operation="extend", case="mun_d"))
        projections = open_projections()
        assert projections.answer("prn_a", "request", "k") == answer
        assert projections.answer("prn_a", "request", "K") is None
        other = projections.answer("prn_b", "request", "k")
        assert other is not None
        assert other.case == "mun_c"

    def test_a_line_that_is_wrong_is_put_right_with_what_is_due(
        self, open_projections: Callable[[], Projections], write: Writes
    ) -> None:
        """But not the answers: the log does not say them."""
        answer = Answer(
            principal="prn_a", operation="request", key="k", body=b"", case="mun_a", at="t"
        )
        placed = write(case_row("mun_a"), Due(case="mun_a", at="1"), answer)
        projections = open_projections()
        right = case_row(placed, state="closed", records=1)
        projections.put_right([(right, [Due(case=placed, at="2"), Due(case="mun_a", at=None)])])
        for reader in (projections, open_projections()):
            assert reader.case_row(placed) == right
            assert reader.due("9") == [placed]
            assert reader.answer("prn_a", "request", "k") == answer

    def test_a_line_that_the_log_has_outgrown_is_left_alone(
        self, open_projections: Callable[[], Projections], write: Writes
    ) -> None:
        """Whoever appended since has written it."""
        placed = write()
        newest = case_row(placed, records=9, state="issued")
        write(newest, Due(case=placed, at="5"))
        projections = open_projections()
        for records in (0, 2):
            old = case_row(placed, records=records, state="pending")
            projections.put_right([(old, [Due(case=placed, at=None)])])
        assert projections.case_row(placed) == newest
        assert projections.due_at(placed) == "5"

    def test_lines_of_cases_that_the_log_does_not_know_go(
        self, open_projections: Callable[[], Projections], write: Writes
    ) -> None:
        placed = write(case_row("mun_a"), Due(case="mun_a", at="1"), case_row("mun_b"))
        write(case_row(placed, records=1))
        projections = open_projections()
        projections.put_right([], ["mun_a", placed])
        assert {row.case for row in projections.cases()} == {"mun_b", placed}
        assert projections.due("9") == []

    def test_lines_are_put_right_all_together_or_not_at_all(
        self, open_projections: Callable[[], Projections], write: Writes
    ) -> None:
        placed = write(case_row("mun_a"), Due(case="mun_a", at="1"))
        projections = open_projections()
        broken: Any = [
            (case_row(placed, records=1), []),
            (case_row("mun_b", records=0), ["no due"]),
        ]
        with pytest.raises(TypeError):
            projections.put_right(broken, ["mun_a"])
        assert [row.case for row in open_projections().cases()] == ["mun_a"]
        assert projections.due("9") == ["mun_a"]
        write(case_row("mun_b"))
        assert len(projections.cases()) == 2  # noqa: PLR2004 (a and b)
