"""`muniment audit` for an auditor who names witnesses and roots: in a database, and in tiles."""

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from muniment.evidence.note import SigningKey
from muniment.evidence.publishing import read_published
from muniment.evidence.store import Published
from muniment.evidence.tiles import tiles_for
from muniment.interfaces.cli.audit import audit_command
from muniment.testing.cases import WrittenCase, WrittenLog
from muniment.testing.vouching import Vouchers


@dataclass
class Office:
    """An auditor, a log, and those who vouch for it."""

    written: WrittenLog
    vouchers: Vouchers
    folder: Path

    def put(self, name: str, data: bytes | str) -> str:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return str(path)

    @property
    def trust(self) -> tuple[str, ...]:
        policy = self.put("witnesses", self.vouchers.policy)
        root = self.put("root.pem", self.vouchers.authority.issuer.pem)
        return ("--witnesses", policy, "--tsa-root", root)

    def audit(self, *arguments: str, where: Path | None = None) -> Result:
        log = str(where or self.written.path)
        key = self.written.key.verifier.vkey
        state = ("--state", str(self.folder / "state")) if where else ()
        return CliRunner().invoke(
            audit_command, [log, "--log-key", key, *state, *arguments], catch_exceptions=False
        )

    def mirror(self, published: Published) -> Path:
        """What is under a published checkpoint, as a mirror has it."""
        read, size = read_published(self.written.store, published), published.size
        for path in ("checkpoint", *(tile.path for tile in tiles_for(size))):
            self.put(f"mirror/{path}", read(path) or b"")
        return self.folder / "mirror"


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    (tmp_path / "log").mkdir()
    (tmp_path / "office").mkdir()
    written = WrittenLog(tmp_path / "log")
    WrittenCase(written).whole()
    yield Office(written, Vouchers(), tmp_path / "office")
    written.close()


def test_a_database_is_graded_by_what_was_published_from_it(office: Office) -> None:
    office.vouchers.publish(office.written)
    result = office.audit(*office.trust)
    *_, grade, proved, limits = result.output.splitlines()
    assert result.exit_code == 0
    assert grade == "WITNESSED 2/3, TIME-STAMPED 2026-11-22T03:00:01Z"
    assert proved.startswith("Proved: 2 of the 3 witnesses that the reader's quorum counts")
    assert limits.startswith("Not proved: that the witnesses are independent of the operator")
    assert "cosigned by `witness.example/one` at 2026-11-22T03:00:00Z (yours)" in result.output


def test_entries_behind_what_was_published_are_vouched_for_by_nobody(office: Office) -> None:
    office.vouchers.publish(office.written)
    office.written.enrol("late")
    result = office.audit(*office.trust)
    assert "WITNESSED 2/3" in result.output
    size = office.written.log.size - 1
    assert f"that anybody else vouches for what came after size {size}" in result.output
    assert "vouches for what came after" not in office.audit().output


def test_without_names_of_the_auditor_it_is_worth_nothing_more(office: Office) -> None:
    office.vouchers.publish(office.written)
    result = office.audit()
    assert result.exit_code == 0
    assert "cosigned by 2 more, not checked: give their keys (--witnesses)" in result.output
    assert result.output.splitlines()[-3] == "UNANCHORED"


def test_tiles_are_graded_by_the_checkpoint_above_them(office: Office) -> None:
    mirror = office.mirror(office.vouchers.publish(office.written))
    result = office.audit(*office.trust, where=mirror)
    assert result.exit_code == 0
    assert result.output.splitlines()[-3] == "WITNESSED 2/3"
    own = office.vouchers.witnesses[1].verifier.vkey
    again = office.audit("--own-witness", own, "--from-start", where=office.mirror(
        office.vouchers.publish(office.written, (1,))
    ))  # fmt: skip
    assert again.output.splitlines()[-3] == "SELF-WITNESSED"


def test_json_has_the_grade_and_what_it_rests_on(office: Office) -> None:
    office.vouchers.publish(office.written)
    value: Any = json.loads(office.audit(*office.trust, "--json").output)
    assert (value["verdict"], value["holds"]) == ("WITNESSED", True)
    assert value["grade"] == "WITNESSED 2/3, TIME-STAMPED 2026-11-22T03:00:01Z"
    assert value["witnesses"]["yours"]["quorum"] is True
    assert value["existed_before"] == "2026-11-22T03:00:01+00:00"
    assert len(value["proved"]) == 2


def test_a_false_cosignature_of_a_named_witness_is_invalid(office: Office) -> None:
    published = office.vouchers.publish(office.written)
    text = published.note.partition(b"\n\n")[0].decode() + "\n"
    false = office.vouchers.witnesses[2].cosign(text.replace("muniment", "monument"), 9).line
    spoilt = replace(published, note=published.note + false.encode())
    office.written.store.publish(spoilt)
    result = office.audit(*office.trust)
    assert result.exit_code == 1
    assert "INVALID: the published checkpoint: the signature of `witness.example/three`" in (
        result.output
    )


def test_a_published_checkpoint_of_another_history_is_invalid(office: Office) -> None:
    other = SigningKey.generate(office.written.key.name)
    published = office.vouchers.publish(office.written)
    text = published.note.partition(b"\n\n")[0].decode() + "\n"
    for note, said in (
        (other.sign(text), "no known key signed the note"),
        (office.written.key.sign(text.replace(text.split("\n")[2], "A" * 43 + "=")), "not of this"),
        (office.written.key.sign(text.replace("\n14\n", "\n99\n")), "99 were published"),
    ):
        office.written.store.publish(replace(published, note=note))
        result = office.audit()
        assert result.exit_code == 1
        assert said in result.output, note


def test_a_database_of_an_earlier_version_has_published_nothing(
    office: Office, tmp_path: Path
) -> None:
    old = tmp_path / "old.db"
    source, target = sqlite3.connect(office.written.path), sqlite3.connect(old)
    source.backup(target)
    source.close()
    for table in ("stamps", "published"):
        target.execute(f"DROP TABLE IF EXISTS {table}")
    target.commit()
    target.close()
    assert office.audit(where=None).exit_code == 0
    key = office.written.key.verifier.vkey
    result = CliRunner().invoke(audit_command, [str(old), "--log-key", key])
    assert result.exit_code == 0, result.output
