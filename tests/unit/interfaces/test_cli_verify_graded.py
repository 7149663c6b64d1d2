"""`muniment verify` for a reader who names witnesses and roots: grades, words and conditions."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from muniment.evidence import verdict as grades
from muniment.evidence.note import SigningKey
from muniment.interfaces.cli.verify import verify_command
from muniment.testing.cases import WrittenCase, WrittenLog
from muniment.testing.time_stamps import Issuer
from muniment.testing.vouching import Vouchers, policy_text


@dataclass
class Desk:
    """An auditor's desk: a bundle that two witnesses and an authority vouch for."""

    written: WrittenLog
    case: WrittenCase
    vouchers: Vouchers
    folder: Path

    def put(self, name: str, data: bytes | str) -> str:
        path = self.folder / name
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return str(path)

    @property
    def policy(self) -> str:
        return self.put("witnesses", self.vouchers.policy)

    @property
    def root(self) -> str:
        return self.put("root.pem", self.vouchers.authority.issuer.pem)

    def bundle(self, *by: int, stamped: bool = True) -> str:
        data = self.vouchers.export(self.written, self.case.id, by, stamped=stamped)
        return self.put("case.json", data)

    def verify(self, *arguments: str) -> Result:
        key = self.written.key.verifier.vkey
        return CliRunner().invoke(
            verify_command, [*arguments, "--log-key", key], catch_exceptions=False
        )


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    log, folder = tmp_path / "log", tmp_path / "desk"
    log.mkdir()
    folder.mkdir()
    written = WrittenLog(log)
    yield Desk(written, WrittenCase(written).whole(), Vouchers(), folder)
    written.close()


def test_with_the_reader_s_own_policy_and_root_it_is_witnessed_and_time_stamped(desk: Desk) -> None:
    result = desk.verify(desk.bundle(0, 1), "--witnesses", desk.policy, "--tsa-root", desk.root)
    *_, verdict, proved, limits = result.output.splitlines()
    assert result.exit_code == 0
    assert verdict.startswith("WITNESSED 2/3, TIME-STAMPED 2026-11-22T03:00:01Z, COMPLETE, closed")
    assert proved.startswith("Proved: 2 of the 3 witnesses that the reader's quorum counts")
    assert "`CN=Example Time Stamps` states that this checkpoint existed before" in proved
    assert limits.startswith("Not proved: that the witnesses are independent of the operator")
    assert "no time-stamp from outside" not in limits


def test_without_them_it_shows_who_cosigned_and_says_that_nobody_is_trusted(desk: Desk) -> None:
    result = desk.verify(desk.bundle(0, 1))
    assert result.exit_code == 0
    assert "cosigned by `witness.example/one` at 2026-11-22T03:00:00Z" in result.output
    assert "you named no witness that you trust (--witnesses)" in result.output
    assert "not verified: you gave no root for it (--tsa-root)" in result.output
    assert result.output.splitlines()[-3].startswith("UNANCHORED, COMPLETE")


def test_too_few_witnesses_are_no_quorum(desk: Desk) -> None:
    result = desk.verify(desk.bundle(2), "--witnesses", desk.policy)
    assert "1 of your 3 witnesses cosigned: that is not your quorum" in result.output
    assert "UNANCHORED, COMPLETE" in result.output


def test_a_witness_of_the_operator_makes_it_self_witnessed(desk: Desk) -> None:
    key = desk.vouchers.witnesses[0].verifier.vkey
    for own in (key, desk.put("own.vkey", key + "\n")):
        result = desk.verify(desk.bundle(0, 1), "--own-witness", own, "--witnesses", desk.policy)
        assert "cosigned by `witness.example/one` at 2026-11-22T03:00:00Z (the operator's)" in (
            result.output
        )
        assert "SELF-WITNESSED, COMPLETE" in result.output
        assert "1 of your 2 witnesses cosigned" in result.output


def test_a_time_stamp_of_somebody_else_is_shown_and_not_believed(desk: Desk) -> None:
    other = desk.put("other.pem", Issuer(name="Somebody").pem)
    result = desk.verify(desk.bundle(), "--tsa-root", other, "--require", "time-stamped")
    assert result.exit_code == 1
    assert "not verified: `CN=Example Time Stamps` does not lead to your root" in result.output
    assert "REQUIRED, and does not hold: time-stamped" in result.output
    both = desk.verify(
        desk.bundle(), "--tsa-root", other, "--tsa-root", desk.root, "--require", "time-stamped"
    )
    assert both.exit_code == 0


@pytest.mark.parametrize(
    ("required", "by", "code"),
    [
        ("witnessed", (0, 1), 0),
        ("self-witnessed", (0, 1), 0),
        ("witnessed", (1,), 1),
        ("self-witnessed", (1,), 1),
    ],
)
def test_a_grade_can_be_made_a_condition(
    desk: Desk, required: str, by: tuple[int, ...], code: int
) -> None:
    arguments = ("--witnesses", desk.policy, "--require", required)
    result = desk.verify(desk.bundle(*by), *arguments)
    assert result.exit_code == code
    assert ("REQUIRED, and does not hold" in result.output) is bool(code)


def test_json_has_the_grade_and_what_it_rests_on(desk: Desk) -> None:
    arguments = ("--witnesses", desk.policy, "--tsa-root", desk.root, "--json")
    value: Any = json.loads(desk.verify(desk.bundle(0, 1), *arguments).output)
    assert (value["verdict"], value["holds"]) == ("WITNESSED", True)
    assert value["grade"] == "WITNESSED 2/3, TIME-STAMPED 2026-11-22T03:00:01Z"
    assert value["witnesses"]["yours"] == {"cosigned": 2, "counted": 3, "quorum": True}
    assert [each["standing"] for each in value["witnesses"]["cosigned"]] == ["yours", "yours"]
    assert [each["verified"] for each in value["stamps"]] == [True]
    assert value["existed_before"] == "2026-11-22T03:00:01+00:00"
    assert len(value["proved"]) == 2
    assert grades.NOT_STAMPED not in value["not_proved"]


def test_a_file_that_fails_proves_nothing_in_the_same_words(desk: Desk) -> None:
    *_, verdict, proved, limits = desk.verify(desk.put("bad.json", b"{}")).output.splitlines()
    assert verdict.startswith("INVALID: step 1")
    assert proved == f"Proved: nothing. {grades.PROVES[grades.Verdict.INVALID]}"
    assert limits == "Not proved: anything."


def test_what_is_no_policy_no_key_and_no_root_is_a_usage_error(desk: Desk) -> None:
    bundle, keys = desk.bundle(), [each.verifier for each in desk.vouchers.witnesses]
    own = desk.written.key.verifier.vkey
    stranger = SigningKey.generate("other.example/log").verifier.vkey
    listing = "log {}\n" + policy_text(keys, 2)
    for arguments, said in (
        (("--witnesses", desk.put("p0", "quorum\n")), "line 1 of the witness policy"),
        (("--witnesses", desk.put("p1", "quorum none\n")), "say whose word you ask for"),
        (("--witnesses", desk.put("p2", listing.format(stranger))), "other logs than yours"),
        (("--witnesses", "no-such-file"), "does not exist"),
        (("--own-witness", own), "not of a witness"),
        (("--own-witness", "nonsense"), "neither a public key"),
        (("--tsa-root", desk.put("p3", "no pem")), "no PEM file with certificates"),
    ):
        result = desk.verify(bundle, *arguments)
        assert result.exit_code == 2, arguments
        assert said in result.output
    fitting = desk.put("p", listing.format(own))
    assert desk.verify(bundle, "--witnesses", fitting).exit_code == 0
