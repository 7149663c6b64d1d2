"""Ctrl-C stops a command also where it falls into a callback that can raise nothing."""

import sys
import threading
import weakref

import pytest

from muniment.interfaces.cli import interrupts, main


class _Thing:
    pass


def _fall_into_a_callback(interruption: type[BaseException]) -> None:
    """As the import system's callback on the lock of a module that was imported."""

    def callback(_: object) -> None:
        raise interruption

    thing = _Thing()
    kept = weakref.ref(thing, callback)
    del thing
    assert kept() is None


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    interrupts.keep()


@pytest.mark.usefixtures("kept")
def test_an_interruption_that_was_swallowed_comes_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fall_and_wait() -> None:
        _fall_into_a_callback(KeyboardInterrupt)
        threading.Event().wait(10)

    with pytest.raises(KeyboardInterrupt):
        fall_and_wait()
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("kept")
def test_what_else_goes_wrong_there_is_still_said(capsys: pytest.CaptureFixture[str]) -> None:
    _fall_into_a_callback(ZeroDivisionError)
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_a_command_that_is_interrupted_in_a_callback_stops(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)

    def imported(_: str) -> None:
        _fall_into_a_callback(KeyboardInterrupt)
        threading.Event().wait(10)
        pytest.fail("the command goes on")

    monkeypatch.setattr(main, "import_module", imported)
    with pytest.raises(SystemExit) as stopped:
        main.main(["whoami"])
    assert stopped.value.code == 1
    assert capsys.readouterr().err.strip() == "stopped"
