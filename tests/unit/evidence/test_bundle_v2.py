"""The second format: a bundle with what others put to its checkpoint, and every way to change it."""

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from one_value import alternatives, at, changed, paths

from muniment.access import check
from muniment.errors import BundleInvalid
from muniment.evidence import canonical
from muniment.evidence.bundle import FORMAT, FORMAT_2, Bundle
from muniment.evidence.note import CosigningKey, VerifierKey
from muniment.evidence.store import Published
from muniment.evidence.verdict import Verdict, headline
from muniment.evidence.verify import verify
from muniment.testing.cases import WrittenCase, WrittenLog
from muniment.testing.vouching import AT, Vouchers

pytestmark = pytest.mark.filterwarnings(
    "ignore::cryptography.utils.CryptographyDeprecationWarning"  # serial numbers that we flipped
)


@dataclass
class Fixture:
    written: WrittenLog
    case: WrittenCase
    vouchers: Vouchers
    #: two of three witnesses cosigned, and an authority stamped
    data: bytes

    @property
    def value(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.data)
        return found

    def changed(self, name: str, new: Any) -> bytes:
        return canonical.encode({**self.value, name: new})


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fixture]:
    written = WrittenLog(tmp_path_factory.mktemp("log"))
    case, vouchers = WrittenCase(written).whole(), Vouchers()
    yield Fixture(written, case, vouchers, vouchers.export(written, case.id))
    written.close()


def refused(good: Fixture, data: bytes) -> BundleInvalid:
    with pytest.raises(BundleInvalid) as caught:
        check.verify(data, good.written.key.verifier)
    return caught.value


def test_it_passes_every_step_and_reads_back_to_the_same_bytes(good: Fixture) -> None:
    checked = check.verify(good.data, good.written.key.verifier)
    assert [step.number for step in checked.steps] == list(range(1, 13))
    assert checked.steps[1].detail.endswith("2 cosigned, 1 time-stamped")
    bundle = Bundle.parse(good.data)
    assert good.value["format"] == FORMAT_2
    assert (len(bundle.witnesses), len(bundle.stamps)) == (2, 1)
    assert bundle.encode() == good.data


def test_to_a_reader_who_trusts_nobody_it_is_worth_no_more_than_without(good: Fixture) -> None:
    proved = verify(good.data, good.written.key.verifier)
    assert proved.verdict is Verdict.UNANCHORED
    assert [each.standing for each in proved.vouched.cosigned] == ["not one that you named"] * 2
    assert proved.vouched.stamp is None


def test_to_a_reader_who_named_them_it_is_witnessed_and_time_stamped(good: Fixture) -> None:
    proved = verify(good.data, good.written.key.verifier, reader=good.vouchers.reader)
    assert headline(proved.verdict, proved.vouched) == (
        "WITNESSED 2/3, TIME-STAMPED 2026-11-22T03:00:01Z"
    )


# --- no value is decoration -------------------------------------------------------------------


def accepts(good: Fixture, data: bytes) -> bool:
    try:
        check.verify(data, good.written.key.verifier)
    except BundleInvalid:
        return False
    return True


def test_changing_dropping_or_adding_any_one_value_fails_verification(good: Fixture) -> None:
    original, count = good.value, 0
    for path in paths(original):
        if path and path[0] in ("records", "heads") and path[-1] != "proof":
            continue  # these are the same as in the first format, and changed there
        for new in alternatives(at(original, path)):
            data = canonical.encode(changed(original, path, new))
            if data != good.data and not removed(good, path, new):
                count += 1
                assert not accepts(good, data), f"{path}: {new!r:.80}"
    assert count > 700


def removed(good: Fixture, path: tuple[Any, ...], new: Any) -> bool:
    """The one thing that whoever holds the file can do with one value: leave out a time stamp."""
    stamps = good.value["stamps"]
    return path == ("stamps",) and isinstance(new, list) and len(new) < len(stamps)


def test_changing_any_one_byte_of_what_others_put_to_it_fails_verification(good: Fixture) -> None:
    for name in ("checkpoint", "witnesses", "stamps"):
        start = good.data.index(canonical.encode(good.value[name]))
        for place in range(start, start + len(canonical.encode(good.value[name]))):
            data = bytearray(good.data)
            data[place] ^= 1
            refused(good, bytes(data))


# --- what can be taken out, and what cannot be put in ---------------------------------------------


def without_witness(value: dict[str, Any], number: int) -> dict[str, Any]:
    key = value["witnesses"][number]
    name = key.partition("+")[0]
    lines = value["checkpoint"].splitlines(keepends=True)
    return {
        **value,
        "witnesses": [each for each in value["witnesses"] if each != key],
        "checkpoint": "".join(line for line in lines if not line.startswith(f"— {name} ")),
    }


def test_a_cosignature_can_be_taken_out_with_its_key_and_then_less_is_shown(good: Fixture) -> None:
    data = canonical.encode(without_witness(good.value, 0))
    proved = verify(data, good.written.key.verifier, reader=good.vouchers.reader)
    assert proved.verdict is Verdict.UNANCHORED
    assert (proved.vouched.k, proved.vouched.n) == (1, 3)


def test_without_anything_of_others_it_has_to_be_of_the_first_format(good: Fixture) -> None:
    bare = without_witness(without_witness(good.value, 1), 0)
    assert refused(good, canonical.encode({**bare, "stamps": []})).step == 1
    first = {name: bare[name] for name in bare if name not in ("stamps", "witnesses")}
    data = canonical.encode({**first, "format": FORMAT})
    assert verify(data, good.written.key.verifier).verdict is Verdict.UNANCHORED
    assert refused(good, canonical.encode({**bare, "format": FORMAT, "stamps": []})).step == 1


def cosigned_by(good: Fixture, stranger: CosigningKey) -> bytes:
    value = good.value
    text = value["checkpoint"].partition("\n\n")[0] + "\n"
    line = stranger.cosign(text, int(AT.timestamp())).line
    keys = sorted([*value["witnesses"], stranger.verifier.vkey])
    head, _, lines = value["checkpoint"].partition("\n\n")
    own, *others = lines.splitlines(keepends=True)
    by_name = {each.split(" ")[1]: each for each in [*others, line]}
    ordered = [by_name[key.partition("+")[0]] for key in keys]
    checkpoint = f"{head}\n\n{own}{''.join(ordered)}"
    return canonical.encode({**value, "witnesses": keys, "checkpoint": checkpoint})


def test_nobody_puts_in_a_witness_of_his_own(good: Fixture) -> None:
    error = refused(good, cosigned_by(good, CosigningKey.generate("witness.example/mallory")))
    assert error.step == 8
    assert "policy names no witness `witness.example/mallory`" in str(error)


def test_a_third_cosignature_of_a_named_witness_can_be_put_in_by_whoever_gets_it(
    good: Fixture,
) -> None:
    data = cosigned_by(good, good.vouchers.witnesses[2])
    proved = verify(data, good.written.key.verifier, reader=good.vouchers.reader)
    assert headline(proved.verdict, proved.vouched).startswith("WITNESSED 3/3")


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        (b"", "does not name the policy of the witnesses"),
        (b"witness w0\n", "line 1 of the witness policy"),
        (b"quorum none\n", "policy names no witness"),
    ],
    ids=["none", "one that cannot be read", "one without witnesses"],
)
def test_cosignatures_under_no_policy_that_names_their_witnesses_are_refused(
    policy: bytes, said: str, tmp_path: Path
) -> None:
    written, vouchers = WrittenLog(tmp_path), Vouchers()
    data = written.export(WrittenCase(written).whole().id, witness_policy=policy)
    assert json.loads(data)["format"] == FORMAT
    published, witness = vouchers.publish(written, (1,)), vouchers.witnesses[1].verifier
    moved = moved_under(written, data, published, witness)
    with pytest.raises(BundleInvalid, match=said) as caught:
        verify(moved, written.key.verifier)
    assert caught.value.step == 8
    written.close()


def moved_under(
    written: WrittenLog, data: bytes, published: Published, witness: VerifierKey
) -> bytes:
    """The same bundle under a published checkpoint, as whoever runs the log could make it."""
    log, bundle, size = written.log, Bundle.parse(data), published.size
    return replace(
        bundle,
        checkpoint=published.note,
        records=tuple(
            replace(each, proof=tuple(log.inclusion(each.index, size))) for each in bundle.records
        ),
        heads=tuple(
            replace(each, proof=tuple(log.consistency(each.size, size))) for each in bundle.heads
        ),
        witnesses=(witness,),
    ).encode()


def test_the_signatures_stand_in_one_order(good: Fixture) -> None:
    head, _, lines = good.value["checkpoint"].partition("\n\n")
    own, first, second = lines.splitlines(keepends=True)
    for order in ((own, second, first), (first, own, second), (own, first, second, second)):
        assert refused(good, good.changed("checkpoint", f"{head}\n\n{''.join(order)}")).step == 2


def test_witnesses_stand_in_one_order_and_once(good: Fixture) -> None:
    first, second = good.value["witnesses"]
    for names in ([second, first], [first, first, second], [first], [first, second, first]):
        assert refused(good, good.changed("witnesses", names)).step in (1, 2)
    log = good.written.key.verifier.vkey
    assert refused(good, good.changed("witnesses", sorted([first, second, log]))).step == 1


def test_a_time_stamp_over_another_text_fails_step_2(good: Fixture) -> None:
    other = good.vouchers.authority.token(b"another text\n", AT)
    error = refused(good, good.changed("stamps", [base64.b64encode(other).decode()]))
    assert error.step == 2
    assert "about another text" in str(error)


def test_a_time_stamp_more_that_says_something_true_changes_nothing_else(good: Fixture) -> None:
    text = good.value["checkpoint"].partition("\n\n")[0].encode() + b"\n"
    later = good.vouchers.authority.token(text, AT.replace(hour=9))
    both = sorted([base64.b64decode(good.value["stamps"][0]), later])
    data = good.changed("stamps", [base64.b64encode(each).decode() for each in both])
    proved = verify(data, good.written.key.verifier, reader=good.vouchers.reader)
    assert proved.vouched.stamp is not None
    assert proved.vouched.stamp.at == AT, "the earliest counts"


@pytest.mark.parametrize(
    "change",
    [
        lambda value: {**value, "stamps": [*value["stamps"], *value["stamps"]]},
        lambda value: {**value, "stamps": ["AAAA"] * 17},
        lambda value: {**value, "witnesses": [*value["witnesses"]] * 40},
        lambda value: {**value, "stamps": [base64.b64encode(bytes(70_000)).decode()]},
        lambda value: {name: value[name] for name in value if name != "stamps"},
        lambda value: {**value, "format": "muniment-bundle/v3"},
    ],
    ids=["twice", "too many", "too many witnesses", "too long", "missing", "unknown format"],
)
def test_a_form_that_nothing_has_fails_step_1(
    good: Fixture, change: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    assert refused(good, canonical.encode(change(good.value))).step == 1


def test_heads_that_a_reader_kept_still_decide(good: Fixture, tmp_path: Path) -> None:
    rewritten = WrittenLog(tmp_path, key=good.written.key)
    data = good.vouchers.export(rewritten, WrittenCase(rewritten).whole().id, sizes=[3])
    kept = good.written.store.checkpoint(3)
    assert kept is not None
    proved = verify(data, good.written.key.verifier, [kept], good.vouchers.reader)
    assert proved.verdict is Verdict.DIVERGED
    assert headline(proved.verdict, proved.vouched) == "DIVERGED"
    rewritten.close()
