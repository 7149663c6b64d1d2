"""
The contract of a mirror, as tests.

Subclass it in a test module and give pytest the fixture `open_mirror`, a function: each call opens
the same place anew, as another process would.
"""

# ruff: noqa: S101 - a contract is made of asserts

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from muniment.errors import Conflict
from muniment.evidence.store import Mirror

MOST = 1 << 20
PATHS = (
    "tile/0/000",
    "tile/0/000.p/7",
    "tile/entries/x001/x234/067.p/255",
    "documents/" + "ab" * 32,
    "checkpoints/17",
)


class MirrorContract:
    """Needs the fixture `open_mirror`."""

    @pytest.fixture
    def mirror(self, open_mirror: Callable[[], Mirror]) -> Mirror:
        return open_mirror()

    def test_a_new_mirror_has_nothing(self, mirror: Mirror) -> None:
        assert [mirror.get(path, MOST) for path in (*PATHS, "checkpoint")] == [None] * 6

    @pytest.mark.parametrize("path", PATHS)
    @pytest.mark.parametrize("data", [b"", b"\0" * 8192, b"entry" * 20_000])
    def test_what_was_put_is_there_for_everybody(
        self, mirror: Mirror, open_mirror: Callable[[], Mirror], path: str, data: bytes
    ) -> None:
        mirror.put(path, data)
        assert mirror.get(path, MOST) == open_mirror().get(path, MOST) == data

    def test_the_same_may_be_put_again(self, mirror: Mirror) -> None:
        for _ in range(3):
            mirror.put("tile/0/000", b"same")
        assert mirror.get("tile/0/000", MOST) == b"same"

    @pytest.mark.parametrize("other", [b"", b"Same", b"same ", b"sam", b"x" * 9000])
    def test_nothing_is_ever_put_over_something_else(
        self, mirror: Mirror, open_mirror: Callable[[], Mirror], other: bytes
    ) -> None:
        mirror.put("tile/0/000", b"same")
        with pytest.raises(Conflict):
            open_mirror().put("tile/0/000", other)
        assert mirror.get("tile/0/000", MOST) == b"same"

    def test_of_two_that_are_put_at_once_one_stays(
        self, mirror: Mirror, open_mirror: Callable[[], Mirror]
    ) -> None:
        def put(number: int) -> bool:
            try:
                open_mirror().put("tile/0/000", b"%d" % number * 1000)
            except Conflict:
                return False
            return True

        with ThreadPoolExecutor(4) as pool:
            done = list(pool.map(put, range(8)))
        assert done.count(True) == 1
        assert mirror.get("tile/0/000", MOST) == b"%d" % done.index(True) * 1000

    def test_the_checkpoint_is_the_last_that_was_kept(
        self, mirror: Mirror, open_mirror: Callable[[], Mirror]
    ) -> None:
        for note in (b"first", b"second", b"second", b"third"):
            mirror.replace("checkpoint", note)
            assert open_mirror().get("checkpoint", MOST) == note

    def test_what_is_larger_than_it_can_be_is_not_read(self, mirror: Mirror) -> None:
        mirror.put("tile/0/000", b"x" * 100)
        assert mirror.get("tile/0/000", 100) == b"x" * 100
        with pytest.raises(Conflict):
            mirror.get("tile/0/000", 99)

    def test_a_name_that_leads_elsewhere_is_a_mistake(self, mirror: Mirror) -> None:
        for path in ("", "/etc/x", "../x", "tile/../../x", "tile//0", "tile/."):
            with pytest.raises(ValueError, match="no resource"):
                mirror.put(path, b"")
