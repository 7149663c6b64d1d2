"""Several keys of one log: which of them sign which checkpoint, and what no key of it signed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from muniment.errors import ConfigInvalid, LogInvalid, LogUnavailable, NoteInvalid
from muniment.evidence.checkpoint import Checkpoint, open_cosigned, sign
from muniment.evidence.keys import KEY_ADDED, KEY_RETIRED, MAX_SIGNERS, LogKeys, only
from muniment.evidence.note import CosigningKey, Signature, SigningKey, VerifierKey, parse_note
from muniment.evidence.signer import Extension, KeyAtHand, Keyring
from muniment.evidence.store import Entry
from muniment.stores.head_file import HeadFile
from muniment.testing.faulty import ORIGIN
from muniment.testing.trial_log import TrialLog

SECOND = SigningKey.generate(ORIGIN)


@pytest.fixture
def trial(tmp_path: Path) -> Iterator[TrialLog]:
    """A log whose second key is at hand, and no more."""
    trial = TrialLog(tmp_path, others=(KeyAtHand(SECOND),))
    yield trial
    trial.close()


def add(trial: TrialLog, key: SigningKey = SECOND) -> Entry:
    case = trial.log.read_entry(0).header.case
    return trial.append(trial.draft(case, kind=KEY_ADDED, body={"key": key.verifier.vkey}))[0]


def retire(trial: TrialLog, key: SigningKey, reason: str = "rotated", **body: object) -> Entry:
    case = trial.log.read_entry(0).header.case
    said = {"key": key.verifier.vkey, "reason": reason, "since": None, **body}
    return trial.append(trial.draft(case, kind=KEY_RETIRED, body=said))[0]


def signers(note: bytes, *keys: SigningKey) -> set[VerifierKey]:
    return set(open_cosigned(note, ORIGIN, [key.verifier for key in keys])[1].verified)


def lines(note: bytes) -> int:
    return len(parse_note(note)[1])


# --- the life of a second key ---------------------------------------------------------------------


def test_a_key_that_is_only_at_hand_signs_nothing(trial: TrialLog) -> None:
    trial.fill(2)
    assert lines(trial.log.checkpoint) == 1
    assert trial.log.verifier == trial.key.verifier


def test_a_new_key_signs_the_checkpoint_that_covers_its_record(trial: TrialLog) -> None:
    trial.fill(1)
    entry = add(trial)
    assert trial.log.size == entry.index + 1
    assert signers(trial.log.checkpoint, trial.key, SECOND) == {
        trial.key.verifier,
        SECOND.verifier,
    }
    trial.fill(3)
    assert lines(trial.log.checkpoint) == 2
    trial.check()


def test_a_key_that_is_retired_signs_the_checkpoint_that_says_so_and_no_more(
    trial: TrialLog,
) -> None:
    add(trial)
    retire(trial, trial.key)
    assert lines(trial.log.checkpoint) == 2
    trial.fill(1)
    assert signers(trial.log.checkpoint, trial.key, SECOND) == {SECOND.verifier}
    assert trial.log.verifier == SECOND.verifier


def test_a_key_may_be_added_and_another_retired_at_once(trial: TrialLog) -> None:
    case = trial.log.read_entry(0).header.case
    gone = {"key": trial.key.verifier.vkey, "reason": "rotated", "since": None}
    trial.append(
        trial.draft(case, kind=KEY_ADDED, body={"key": SECOND.verifier.vkey}),
        trial.draft(case, kind=KEY_RETIRED, body=gone),
    )
    assert lines(trial.log.checkpoint) == 2
    trial.fill(1)
    trial.reopen()
    assert trial.log.verifier == SECOND.verifier


def test_the_log_opens_again_at_every_stage_of_a_rotation(trial: TrialLog) -> None:
    trial.reopen()
    add(trial)
    trial.reopen()
    trial.fill(1)
    trial.reopen()
    retire(trial, trial.key)
    trial.reopen()
    trial.fill(1)
    trial.reopen()
    assert [each.retired is None for each in trial.log.keys.all] == [False, True]


def test_without_a_key_that_signs_nothing_is_written(trial: TrialLog) -> None:
    add(trial)
    before = trial.log.size
    trial.log.hold(Keyring.of(trial.key))
    with pytest.raises(LogUnavailable, match="put its file back, or retire it"):
        trial.fill(1)
    trial.log.hold(trial.keyring)
    trial.fill(1)
    assert trial.log.size == before + 1


def test_a_key_whose_file_is_lost_can_still_be_retired(trial: TrialLog) -> None:
    add(trial)
    trial.log.hold(Keyring.of(SECOND))
    retire(trial, trial.key)
    assert signers(trial.log.checkpoint, trial.key, SECOND) == {SECOND.verifier}
    trial.log.hold(Keyring.of(SECOND))
    trial.fill(1)


def test_a_log_does_not_take_keys_of_another(trial: TrialLog) -> None:
    with pytest.raises(ConfigInvalid, match="is of"):
        trial.log.hold(Keyring.of(SigningKey.generate("other.example/log")))


class Lost(KeyAtHand):
    """A key in another process that is gone for good."""

    def sign(self, extension: Extension) -> Signature:
        raise LogUnavailable(f"no answer at size {extension.size}")


def test_the_only_signer_may_be_lost_and_is_replaced_in_one_step(trial: TrialLog) -> None:
    trial.fill(1)
    trial.log.hold(Keyring([Lost(trial.key), KeyAtHand(SECOND)]))
    case = trial.log.read_entry(0).header.case
    added = trial.draft(case, kind=KEY_ADDED, body={"key": SECOND.verifier.vkey})
    with pytest.raises(LogUnavailable):
        trial.append(added)
    gone = {"key": trial.key.verifier.vkey, "reason": "compromised", "since": None}
    trial.append(added, trial.draft(case, kind=KEY_RETIRED, body=gone))
    assert signers(trial.log.checkpoint, trial.key, SECOND) == {SECOND.verifier}
    trial.fill(1)
    trial.reopen()
    trial.fill(1)
    trial.check()


# --- what is not believed -------------------------------------------------------------------------


def test_a_head_that_lacks_the_line_of_a_key_that_signs_is_refused(trial: TrialLog) -> None:
    add(trial)
    trial.fill(1)
    note, size = trial.log.checkpoint, trial.log.size
    trial.close()
    trial.head.unlink()
    heads = HeadFile(trial.head)
    heads.write(only(note, [trial.key.verifier]), size)
    heads.close()
    with pytest.raises(LogInvalid, match=f"the key {SECOND.verifier.key_id.hex()} of the log"):
        trial.open()


def test_a_database_that_a_retired_key_signed_is_refused(trial: TrialLog) -> None:
    add(trial)
    retire(trial, trial.key)
    trial.fill(1)
    checkpoint = Checkpoint.parse(parse_note(trial.log.checkpoint)[0])
    stolen = sign(checkpoint, trial.key)
    with pytest.raises(NoteInvalid, match="did not sign"):
        trial.log.keys.open(stolen)
    with pytest.raises(NoteInvalid, match="no known key signed"):
        trial.log.keys.recognise(stolen)


def test_a_log_does_not_open_with_none_of_its_keys(trial: TrialLog) -> None:
    trial.fill(1)
    trial.close()
    trial.key, trial.others = SECOND, ()
    with pytest.raises(LogInvalid, match="another log or key"):
        trial.open()


def test_what_was_kept_of_an_earlier_time_is_recognised_by_the_key_of_that_time(
    trial: TrialLog,
) -> None:
    trial.fill(1)
    early = trial.log.checkpoint
    add(trial)
    both = trial.log.checkpoint
    retire(trial, trial.key)
    trial.fill(1)
    keys = trial.log.keys
    assert keys.recognise(early).size < keys.recognise(both).size
    # whoever knew but one of the keys kept but one of the lines
    assert keys.recognise(only(both, [trial.key.verifier])) == keys.recognise(both)
    assert keys.recognise(only(both, [SECOND.verifier])) == keys.recognise(both)


# --- what no record may say -----------------------------------------------------------------------


def test_no_key_is_added_twice_and_none_comes_back(trial: TrialLog) -> None:
    first = add(trial)
    keys = trial.log.keys
    with pytest.raises(LogInvalid, match="had before"):
        keys.after([first])
    gone = retire(trial, SECOND)
    with pytest.raises(LogInvalid, match="had before"):
        trial.log.keys.after([first])
    with pytest.raises(LogInvalid, match="does not sign"):
        trial.log.keys.after([gone])


def test_the_only_key_is_never_retired(trial: TrialLog) -> None:
    add(trial)
    gone = retire(trial, SECOND)
    entry = trial.log.read_entry(0)
    with pytest.raises(LogInvalid, match="does not sign"):
        LogKeys().after([entry, gone])
    with pytest.raises(LogUnavailable, match="retires the only key"):
        retire(trial, trial.key)


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "no key",
        SigningKey.generate("other.example/log").verifier.vkey,
        CosigningKey.generate(ORIGIN).verifier.vkey,
    ],
    ids=["empty", "no key", "of another log", "of a witness"],
)
def test_what_is_no_key_of_this_log_is_not_added(trial: TrialLog, vkey: str) -> None:
    case = trial.log.read_entry(0).header.case
    with pytest.raises(LogUnavailable, match=r"names no key|of another log, or of another type"):
        trial.append(trial.draft(case, kind=KEY_ADDED, body={"key": vkey}))


def test_there_is_an_end_to_how_many_keys_sign(trial: TrialLog) -> None:
    more = [SigningKey.generate(ORIGIN) for _ in range(MAX_SIGNERS)]
    trial.log.hold(Keyring.of(trial.key, *more))
    for key in more[:-1]:
        add(trial, key)
    assert lines(trial.log.checkpoint) == MAX_SIGNERS
    with pytest.raises(LogUnavailable, match="that sign"):
        add(trial, more[-1])


def test_a_compromised_key_says_from_where_on_its_word_is_worth_nothing(trial: TrialLog) -> None:
    add(trial)
    retire(trial, trial.key, "compromised", since=1)
    known = trial.log.keys.of(trial.key.verifier)
    assert known is not None
    assert (known.reason, known.since) == ("compromised", 1)


# --- the ring -------------------------------------------------------------------------------------


def test_a_ring_holds_keys_of_one_name_and_none_twice() -> None:
    with pytest.raises(ConfigInvalid, match="one name, not of 0"):
        Keyring([])
    with pytest.raises(ConfigInvalid, match="one name, not of 2"):
        Keyring.of(SECOND, SigningKey.generate("other.example/log"))
    with pytest.raises(ConfigInvalid, match="are one"):
        Keyring.of(SECOND, SECOND)


def test_a_note_is_cut_down_to_the_lines_that_a_reader_is_shown() -> None:
    first, text = SigningKey.generate(ORIGIN), "some text\n"
    note = first.sign(text) + SECOND.sign(text).rpartition(b"\n\n")[2]
    assert only(note, [first.verifier]) == first.sign(text)
    assert only(note, [SECOND.verifier]) == SECOND.sign(text)
    assert only(note, [first.verifier, SECOND.verifier]) == note


def test_readers_are_shown_the_line_of_the_oldest_key_that_still_signs(trial: TrialLog) -> None:
    trial.fill(1)
    early = trial.log.size
    add(trial)
    both = trial.log.size
    assert trial.log.keys.shown(both) == trial.key.verifier
    retire(trial, trial.key)
    assert trial.log.keys.shown(both) == SECOND.verifier
    assert trial.log.keys.shown(early) == trial.key.verifier
