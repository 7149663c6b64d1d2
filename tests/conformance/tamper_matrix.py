"""
Who refuses what: every artefact of evidence, every kind of byte in it, changed and judged.

    python tests/conformance/tamper_matrix.py --write    writes docs/reference/tamper-matrix.md

Nothing on the page is typed by hand but the names of the changes: each cell is what a verifier said
in this run. It takes all foreign judges; `make test-deep` installs them.
"""

# ruff: noqa: E402 (as a script, it has to say first where the judges lie)

import base64
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any, Final, TypeAlias

HERE: Final = Path(__file__).parent
if __name__ == "__main__":  # pytest puts it there itself
    sys.path.insert(0, str(HERE / "judges"))

from judging import JUDGES, export_log, judge_directory
from openssl_tsa import OpenSSL

from muniment.access import check
from muniment.errors import BundleInvalid, StampInvalid
from muniment.evidence import canonical, merkle
from muniment.evidence.audit_tiles import audit_tiles
from muniment.evidence.bundle import FORMAT
from muniment.evidence.checkpoint import Checkpoint, sign
from muniment.evidence.note import CosigningKey, SigningKey
from muniment.evidence.stamp import open_token
from muniment.evidence.tile_log import TileLog
from muniment.evidence.verdict import headline
from muniment.testing.cases import WrittenCase, WrittenLog
from muniment.testing.time_stamps import TimeStampAuthority
from muniment.testing.vouching import AT, Vouchers

PAGE: Final = HERE.parents[1] / "docs" / "reference" / "tamper-matrix.md"
Value: TypeAlias = dict[str, Any]

_INTRO: Final = """\
# Who refuses what

<!-- Written by `python tests/conformance/tamper_matrix.py --write`. Change the code, not this page. -->

Every artefact of evidence was changed in every way below, and judged: by `muniment verify` for a reader who named
witnesses and the root of a time-stamp authority, by `muniment audit` of the log's tiles, and by programs that others
wrote. Where a row says *any byte*, each was changed in turn. What is accepted is said, with the grade that is left:
those changes take out or replace what came from outside, and the evidence then shows less. An empty cell: nothing to
judge there.

Unchanged, the bundle was judged `{good}`.
"""
_OUTRO: Final = """
`go` is the code of Go's checksum database, `openssl` is `openssl ts -verify`; the others are
tlog-scales, aics-tlog and witness-log, which read C2SP logs. A witness sees heads, proofs and proved entries, and no tiles. To others a
checkpoint is good with signatures in any order, and of anybody; a bundle has one order, and nobody whom its log's policy does not name.
"""


@dataclass
class World:
    """One log, one bundle of it, and those who vouch."""

    folder: Path
    vouchers: Vouchers = field(default_factory=Vouchers)

    def __post_init__(self) -> None:
        for name in ("log", "other", "openssl"):
            (self.folder / name).mkdir()
        self.written = WrittenLog(self.folder / "log")
        self.case = WrittenCase(self.written).whole()
        self.data = self.vouchers.export(self.written, self.case.id, sizes=[3])
        self.value: Value = json.loads(self.data)
        self.openssl = OpenSSL(self.folder / "openssl")
        (self.folder / "openssl" / "root.pem").write_bytes(self.vouchers.authority.issuer.pem)
        self.directory = self.folder / "published"
        published = self.written.store.published()
        kept = [self.written.store.checkpoint(size) or b"" for size in (2, 5)]
        assert published is not None
        self.note = self.written.store.checkpoint(published.size) or b""
        export_log(
            self.written.store, self.note, self.directory, older=kept,
            proofs=range(published.size),
        )  # fmt: skip
        self.entries = [data for _, data in self.written.store.entries(0, published.size)]

    def close(self) -> None:
        self.written.close()

    def verified(self, data: bytes, heads: tuple[bytes, ...] = ()) -> str:
        """`step n`, or the grade of what was accepted."""
        key = self.written.key.verifier
        try:
            checked = check.verify(data, key, heads, self.vouchers.reader)
        except BundleInvalid as error:
            return f"step {error.step}"
        return f"`{headline(checked.verdict, checked.proved.vouched)}`"

    @property
    def text(self) -> bytes:
        """What is stamped."""
        return str(self.value["checkpoint"]).partition("\n\n")[0].encode() + b"\n"


@dataclass(frozen=True)
class Row:
    artefact: str
    change: str
    verify: str = ""
    audit: str = ""
    others: str = ""


# --- a bundle -------------------------------------------------------------------------------------


def any_byte(world: World, part: str) -> Iterator[bytes]:
    """Each byte of a piece of the file, changed in turn."""
    written = part.encode()
    start = world.data.index(written)
    for place in range(start, start + len(written)):
        data = bytearray(world.data)
        data[place] ^= 1
        yield bytes(data)


def quoted(value: str) -> str:
    return canonical.encode(value).decode()[1:-1]


def lines(world: World) -> list[str]:
    text: str = world.value["checkpoint"]
    return text.splitlines(keepends=True)


def with_checkpoint(world: World, *changed: str, **more: Any) -> Iterator[bytes]:
    yield canonical.encode({**world.value, "checkpoint": "".join(changed), **more})


def every_text_byte(world: World) -> Iterator[bytes]:
    yield from any_byte(world, quoted("".join(lines(world)[:3])))


def every_signature_byte(world: World) -> Iterator[bytes]:
    yield from any_byte(world, quoted(lines(world)[4]))


def every_cosignature_byte(world: World) -> Iterator[bytes]:
    for line in lines(world)[5:]:
        yield from any_byte(world, quoted(line))


def every_witness_byte(world: World) -> Iterator[bytes]:
    for vkey in world.value["witnesses"]:
        yield from any_byte(world, f'"{quoted(vkey)}"')


def every_stamp_byte(world: World) -> Iterator[bytes]:
    token = base64.b64decode(world.value["stamps"][0])
    for place in range(len(token)):
        changed = bytearray(token)
        changed[place] ^= 1
        yield with_stamp(world, bytes(changed))


def with_stamp(world: World, token: bytes) -> bytes:
    return canonical.encode({**world.value, "stamps": [base64.b64encode(token).decode()]})


def cosignature_order(world: World) -> Iterator[bytes]:
    *head, own, first, second = lines(world)
    yield from with_checkpoint(world, *head, own, second, first)
    yield from with_checkpoint(world, *head, first, own, second)


def cosignature_alone(world: World) -> Iterator[bytes]:
    *head, first, second = lines(world)
    yield from with_checkpoint(world, *head, first)
    yield from with_checkpoint(world, *head, second)


def cosignature_twice(world: World) -> Iterator[bytes]:
    *head, last = lines(world)
    yield from with_checkpoint(world, *head, last, last)


def witness_alone(world: World) -> Iterator[bytes]:
    names = world.value["witnesses"]
    for fewer in (names[:0], names[:1], names[1:]):
        yield canonical.encode({**world.value, "witnesses": fewer})


def cosignature_and_witness(world: World) -> Iterator[bytes]:
    *head, first, _ = lines(world)
    yield from with_checkpoint(world, *head, first, witnesses=world.value["witnesses"][:1])


def all_that_others_added(world: World) -> Iterator[bytes]:
    bare = {k: v for k, v in world.value.items() if k not in ("witnesses", "stamps")}
    own = "".join(lines(world)[:5])
    yield canonical.encode({**bare, "format": FORMAT, "checkpoint": own})


def own_witness(world: World) -> Iterator[bytes]:
    mallory = CosigningKey.generate("witness.example/zzz")
    line = mallory.cosign(world.text.decode(), int(AT.timestamp())).line
    keys = [*world.value["witnesses"], mallory.verifier.vkey]
    yield from with_checkpoint(world, *lines(world), line, witnesses=keys)


def stamp_of_another_text(world: World) -> Iterator[bytes]:
    yield with_stamp(world, world.vouchers.authority.token(b"another text\n", AT))


def stamp_of_another_root(world: World) -> Iterator[bytes]:
    yield with_stamp(world, TimeStampAuthority().token(world.text, AT - timedelta(days=90)))


def stamp_out_of_time(world: World) -> Iterator[bytes]:
    yield with_stamp(world, world.vouchers.authority.token(world.text, AT - timedelta(days=900)))


def stamp_without_purpose(world: World) -> Iterator[bytes]:
    issuer = world.vouchers.authority.issuer
    yield with_stamp(world, TimeStampAuthority(issuer=issuer, purpose=None).token(world.text, AT))


def no_stamp(world: World) -> Iterator[bytes]:
    yield canonical.encode({**world.value, "stamps": []})


def each_record(world: World, change: Callable[[Value], Value]) -> Iterator[bytes]:
    records = world.value["records"]
    for number, record in enumerate(records):
        changed = [*records[:number], change(record), *records[number + 1 :]]
        yield canonical.encode({**world.value, "records": changed})


def every_header(world: World) -> Iterator[bytes]:
    for record in world.value["records"]:
        yield from list(any_byte(world, quoted(record["header"])))[::7]


def every_proof(world: World) -> Iterator[bytes]:
    yield from each_record(world, lambda r: {**r, "proof": [*r["proof"][:-1], "00" * 32]})


def every_index(world: World) -> Iterator[bytes]:
    yield from each_record(world, lambda r: {**r, "index": r["index"] + 1})


def a_record_less(world: World) -> Iterator[bytes]:
    records = world.value["records"]
    for number in range(len(records)):
        yield canonical.encode({**world.value, "records": records[:number] + records[number + 1 :]})


def every_section(world: World, change: Callable[[Any], Any]) -> Iterator[bytes]:
    for number, record in enumerate(world.value["records"]):
        for name, old in record["sections"].items():
            sections = {**record["sections"], name: change(old)}
            records = list(world.value["records"])
            records[number] = {**record, "sections": sections}
            yield canonical.encode({**world.value, "records": records})


def section_content(world: World) -> Iterator[bytes]:
    lie = base64.b64encode(b'{"text":"lies"}').decode()
    yield from every_section(world, lambda old: {**old, "content": lie})


def section_salt(world: World) -> Iterator[bytes]:
    yield from every_section(world, lambda old: {**old, "salt": "00" * 32})


def section_withheld(world: World) -> Iterator[bytes]:
    yield from every_section(world, lambda _: "withheld")


def document_content(world: World) -> Iterator[bytes]:
    for name in world.value["documents"]:
        documents = {**world.value["documents"], name: "cGVybWl0Ow=="}
        yield canonical.encode({**world.value, "documents": documents})


def document_less(world: World) -> Iterator[bytes]:
    for name in world.value["documents"]:
        documents = {k: v for k, v in world.value["documents"].items() if k != name}
        yield canonical.encode({**world.value, "documents": documents})


def witness_policy_byte(world: World) -> Iterator[bytes]:
    policy = base64.b64encode(world.vouchers.policy.encode()).decode()
    yield from any_byte(world, f'"{policy}"')


def head_root(world: World) -> Iterator[bytes]:
    for number, head in enumerate(world.value["heads"]):
        heads = list(world.value["heads"])
        changes: tuple[Value, ...] = (
            {"root": "00" * 32}, {"size": head["size"] + 1}, {"proof": []},
        )  # fmt: skip
        for change in changes:
            heads[number] = {**head, **change}
            if heads[number] != head:
                yield canonical.encode({**world.value, "heads": heads})


def head_less(world: World) -> Iterator[bytes]:
    heads = world.value["heads"]
    for number in range(len(heads)):
        yield canonical.encode({**world.value, "heads": heads[:number] + heads[number + 1 :]})


def rewritten(world: World) -> Iterator[bytes]:
    """Another history under the true key, by whoever holds it: a witness will not cosign it."""
    folder = Path(tempfile.mkdtemp(dir=world.folder))
    other = WrittenLog(folder, key=world.written.key)
    yield other.export(WrittenCase(other).whole().id, sizes=[3])
    other.close()


Forge: TypeAlias = Callable[[World], Iterator[bytes]]

OF_A_BUNDLE: Final[tuple[tuple[str, str, Forge], ...]] = (
    ("checkpoint: text", "any byte of log, size or root", every_text_byte),
    ("checkpoint: signature", "any byte of the log's line", every_signature_byte),
    ("checkpoint: cosignatures", "any byte of a line: name, key, time, signature",
     every_cosignature_byte),
    ("", "the lines in another order", cosignature_order),
    ("", "a line twice", cosignature_twice),
    ("", "a line taken out", cosignature_alone),
    ("", "a line taken out, and its key from `witnesses`", cosignature_and_witness),
    ("", "a witness of one's own put in, with its key", own_witness),
    ("`witnesses`", "any byte of a key", every_witness_byte),
    ("", "a key taken out", witness_alone),
    ("`stamps`", "any byte of the token", every_stamp_byte),
    ("", "the token of another text", stamp_of_another_text),
    ("", "a token of another authority, from the past", stamp_of_another_root),
    ("", "a time before the authority's certificate", stamp_out_of_time),
    ("", "a signer whose certificate is not for time stamps", stamp_without_purpose),
    ("", "taken out", no_stamp),
    ("all of these", "taken out, and the first format named", all_that_others_added),
    ("records", "a byte of a header", every_header),
    ("", "a hash of an inclusion proof", every_proof),
    ("", "an index", every_index),
    ("", "any one taken out", a_record_less),
    ("sections", "the content", section_content),
    ("", "the salt", section_salt),
    ("", "one called withheld that was given", section_withheld),
    ("documents", "the content of any", document_content),
    ("", "any one taken out", document_less),
    ("policy on witnesses", "any byte", witness_policy_byte),
    ("earlier heads", "root, size or proof of any", head_root),
    ("", "any one taken out", head_less),
)  # fmt: skip


def bundle_rows(world: World) -> Iterator[Row]:
    judges: dict[str, Callable[[World, Iterable[bytes]], str]] = {
        "checkpoint": judged_by_aics_tlog,
        "`stamps`": judged_by_openssl,
    }
    judge = None
    for artefact, change, forge in OF_A_BUNDLE:
        forged = list(forge(world))
        said = outcome(world.verified(data) for data in forged)
        judge = judges.get(artefact.partition(":")[0]) if artefact else judge
        yield Row(artefact, change, said, "", judge(world, forged) if judge else "")
    for data in rewritten(world):
        kept = world.written.store.checkpoint(3) or b""
        change = "all of it written anew, under the true key"
        yield Row("the history", change, outcome([world.verified(data)]))
        said = outcome([world.verified(data, (kept,))])
        yield Row("", "the same, against a head that the reader kept", said)


def outcome(said: Iterable[str]) -> str:
    """`step 1 or 2`, and what was accepted."""
    found = set(said)
    steps = sorted(int(each.removeprefix("step ")) for each in found if each.startswith("step"))
    refused = [f"step {' or '.join(map(str, steps))}"] if steps else []
    accepted = sorted(each for each in found if not each.startswith("step"))
    return "; ".join(
        [*refused, *(each if "DIV" in each else f"accepted: {each}" for each in accepted)]
    )


def judged_by_openssl(world: World, forged: Iterable[bytes]) -> str:
    """Whether openssl refuses the tokens, taken out of the bundles."""
    stamps = [json.loads(data)["stamps"] for data in forged]
    tokens = [base64.b64decode(each[0]) for each in stamps if each]
    verdicts = {
        world.openssl.accepts(token, world.text, "root", stated_time(world, token))
        for token in tokens
    }
    return in_words("openssl", verdicts)


def judged_by_aics_tlog(world: World, forged: Iterable[bytes]) -> str:
    """Whether aics-tlog refuses the checkpoints, for the same reader: two of his three witnesses."""
    aics = import_module("aics_tlog")  # by name: the types check with and without the package
    key = aics.parse_vkey(world.written.key.verifier.vkey)
    keys = [aics.parse_vkey(each.verifier.vkey) for each in world.vouchers.witnesses]
    verdicts = set()
    for data in forged:
        try:
            note = aics.parse_note(json.loads(data)["checkpoint"])
            verdicts.add(bool(aics.verify_checkpoint(note, key, keys, 2).ok))
        except ValueError:  # neither JSON, or no note
            verdicts.add(False)
    return in_words("aics-tlog", verdicts)


def in_words(judge: str, accepted: Collection[bool]) -> str:
    if not accepted:
        return ""
    # of a list of digests, say, openssl does not look at every byte
    words = {(False,): judge, (True,): "none", (False, True): f"{judge}, of most bytes"}
    return words[tuple(sorted(accepted))]


def stated_time(world: World, token: bytes) -> int:
    """Openssl is to ask about the time of the token, where one can be read, and not about today."""
    try:
        return int(open_token(token, world.text).at.timestamp())
    except StampInvalid:
        return int(AT.timestamp())


# --- the log itself -------------------------------------------------------------------------------


def flip(file: Path, at: int) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)


def bundle_of(log: Path) -> Path:
    return next((log / "tile/entries/000.p").iterdir())


def tile_of(log: Path) -> Path:
    return next((log / "tile/0/000.p").iterdir())


def entry_byte(log: Path, _: World) -> None:
    flip(bundle_of(log), 2 + 40)


def entry_and_hash(log: Path, world: World) -> None:
    second = world.entries[1]
    forged = second[:-9] + bytes([second[-9] ^ 1]) + second[-8:]
    for file, old, new in (
        (bundle_of(log), second, forged),
        (tile_of(log), merkle.leaf_hash(second), merkle.leaf_hash(forged)),
    ):
        file.write_bytes(file.read_bytes().replace(old, new))


def tile_byte(log: Path, _: World) -> None:
    flip(tile_of(log), 5 * 32)


def last_entry_gone(log: Path, world: World) -> None:
    last = world.entries[-1]
    bundle, tile = bundle_of(log), tile_of(log)
    bundle.write_bytes(bundle.read_bytes().removesuffix(len(last).to_bytes(2, "big") + last))
    tile.write_bytes(tile.read_bytes()[:-32])


def signature_byte(log: Path, _: World) -> None:
    flip(log / "checkpoint", -20)


def other_key(log: Path, world: World) -> None:
    text = (log / "checkpoint").read_bytes().partition(b"\n\n")[0].decode() + "\n"
    (log / "checkpoint").write_bytes(SigningKey.generate(world.written.key.name).sign(text))


def other_root(log: Path, world: World) -> None:
    key = world.written.key
    forged = sign(Checkpoint(key.name, len(world.entries), bytes(32)), key)
    (log / "checkpoint").write_bytes(forged)


def older_head(log: Path, world: World) -> None:
    """Two histories, both signed by the log: somebody has to remember the first."""
    forged = sign(Checkpoint(world.written.key.name, 5, bytes(32)), world.written.key)
    old = (log / "checkpoints/5").read_bytes()
    (log / "checkpoints/5").write_bytes(forged)
    step = next(log.glob("growth/*-*5.add-checkpoint"))
    step.write_bytes(step.read_bytes().replace(old, forged))


def proof_hash(log: Path, _: World) -> None:
    file = log / "proofs/3.tlog-proof"
    line = file.read_bytes().split(b"\n")[3]
    file.write_bytes(file.read_bytes().replace(line, base64.b64encode(bytes(32))))


Spoil: TypeAlias = Callable[[Path, World], None]

OF_THE_LOG: Final[tuple[tuple[str, str, Spoil], ...]] = (
    ("entries", "a byte", entry_byte),
    ("", "a byte, and its hash in the tile", entry_and_hash),
    ("", "the last one gone", last_entry_gone),
    ("tiles", "a byte", tile_byte),
    ("newest checkpoint", "a byte of the signature", signature_byte),
    ("", "signed by another key of the same name", other_key),
    ("", "another root under the true key", other_root),
    ("a checkpoint that somebody kept", "another root under the true key", older_head),
    ("receipts", "a hash of the proof", proof_hash),
)  # fmt: skip


def log_rows(world: World) -> Iterator[Row]:
    for number, (artefact, change, spoil) in enumerate(OF_THE_LOG):
        copy = shutil.copytree(world.directory, world.folder / f"spoilt-{number}")
        spoil(copy, world)
        yield Row(artefact, change, "", audited(world, copy), refused_by(world, copy))


def audited(world: World, directory: Path) -> str:
    def read(path: str) -> bytes | None:
        file = directory / path
        return file.read_bytes() if file.is_file() else None

    kept = [file.read_bytes() for file in sorted((directory / "checkpoints").iterdir())]
    found = audit_tiles(TileLog(read), world.written.key.verifier, kept, full=True)
    # a receipt is no part of the log: whoever has it verifies it
    return "" if found.holds else found.verdict.value


def refused_by(world: World, directory: Path) -> str:
    said = judge_directory(directory, world.written.key.verifier.vkey)
    return ", ".join(name for name in JUDGES if not said[name].accepted)


# --- the page -------------------------------------------------------------------------------------


def rows(world: World) -> Iterator[Row]:
    yield from bundle_rows(world)
    yield from log_rows(world)


def page() -> str:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        try:
            table = [
                "| artefact | what was changed | `verify` | `audit` | programs of others |",
                "|---|---|---|---|---|",
                *(
                    f"| {row.artefact} | {row.change} | {row.verify} | {row.audit} | {row.others} |"
                    for row in rows(world)
                ),
            ]
            good = world.verified(world.data).strip("`")
        finally:
            world.close()
    return "\n".join([_INTRO.format(good=good), *table, _OUTRO])


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(page(), "utf-8")
    elif page() != PAGE.read_text("utf-8"):
        sys.exit(f"stale: {PAGE.name}; python tests/conformance/tamper_matrix.py --write")
