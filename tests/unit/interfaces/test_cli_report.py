"""`muniment report`: made from a log, checked from its folder, and no byte of it can be changed."""

import json
import os
import shutil
import signal
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from muniment.errors import Malformed
from muniment.evidence import canonical, excerpt
from muniment.evidence.checkpoint import Checkpoint, sign
from muniment.evidence.note import SigningKey, parse_note
from muniment.interfaces.cli import report_files, report_page
from muniment.interfaces.cli.main import run
from muniment.interfaces.cli.period import whole_days
from muniment.interfaces.cli.report import report_command
from muniment.testing.vouching import Vouchers
from muniment.testing.written_year import WrittenYear


@dataclass(frozen=True)
class Place:
    """A mirror of a log, and a report that was made of it."""

    year: WrittenYear
    mirror: Path
    key: Path
    report: Path
    checkpoint: Checkpoint


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("report")
    year = WrittenYear(grants=40, days=40, faults=frozenset(("differences", "silent-log")))
    mirror, key, report = folder / "mirror", folder / "log.vkey", folder / "report"
    mirror.mkdir()
    checkpoint = year.tiles(mirror)
    key.write_text(year.key.verifier.vkey)
    (mirror / "documents").mkdir()
    for name, content in year.documents.items():
        (mirror / "documents" / name.hex()).write_bytes(content)
    made = ask(
        "--framework", "soc2", "--period", "2026-01-05..2026-01-31", "-o", report,
        "--log", mirror, "--log-key", key,
    )  # fmt: skip
    assert made.exit_code == 0, made.output
    return Place(year, mirror, key, report, checkpoint)


def ask(*arguments: object) -> Result:
    return CliRunner().invoke(report_command, [str(each) for each in arguments])


def check(place: Place, folder: Path, *more: object) -> Result:
    return ask("--check", folder, "--log-key", place.key, "--json", *more)


def value_of(folder: Path) -> Any:
    return json.loads((folder / "report.json").read_bytes())


@pytest.fixture
def copy(place: Place, tmp_path: Path) -> Path:
    return shutil.copytree(place.report, tmp_path / "copy")


# --- made and checked -------------------------------------------------------------------------


def test_a_report_is_computed_again_from_its_folder_alone(place: Place) -> None:
    found = check(place, place.report)
    assert found.exit_code == 0, found.output
    answer = json.loads(found.output)
    assert answer["holds"]
    assert [each["step"] for each in answer["steps"]] == list(report_files.STEPS)
    assert answer["verdict"] == "UNANCHORED"
    assert "that a control is met" in answer["not_proved"]
    first = f"before entry {value_of(place.report)['log']['whole_from']:,} the log named all cases"
    assert any(first in each for each in answer["not_proved"])


def test_in_words_each_step_is_shown_and_what_is_not_proved(place: Place) -> None:
    found = ask("--check", place.report, "--log-key", place.key)
    assert found.exit_code == 0
    for title in report_files.STEPS.values():
        assert title in found.output
    assert "UNANCHORED" in found.output
    assert "that a control is met" in found.output


def test_the_report_is_tied_to_the_head_of_the_log(place: Place) -> None:
    log = value_of(place.report)["log"]
    assert (log["size"], log["root"]) == (place.checkpoint.size, place.checkpoint.root.hex())
    assert 0 < log["hidden"] == log["size"] - log["shown"]


def test_the_same_log_gives_the_same_report(place: Place, tmp_path: Path) -> None:
    again = tmp_path / "again"
    made = ask(
        "--framework", "soc2", "--period", "2026-01-05..2026-01-31", "-o", again,
        "--log", place.mirror, "--log-key", place.key,
    )  # fmt: skip
    assert made.exit_code == 0
    for file in (each for each in place.report.rglob("*") if each.is_file()):
        assert (again / file.relative_to(place.report)).read_bytes() == file.read_bytes()


def test_everything_in_it_is_for_its_owner_alone(place: Place) -> None:
    assert place.report.stat().st_mode & 0o077 == 0
    assert all(each.stat().st_mode & 0o077 == 0 for each in place.report.rglob("*"))


def test_a_head_that_the_reader_kept_is_held_against_it(place: Place, tmp_path: Path) -> None:
    kept, other = tmp_path / "kept", tmp_path / "other"
    kept.write_bytes(sign(place.checkpoint, place.year.key))
    assert json.loads(check(place, place.report, "--head", kept).output)["verdict"] == (
        "SELF-WITNESSED"
    )
    forked = Checkpoint(place.checkpoint.origin, place.checkpoint.size, b"\1" * 32)
    other.write_bytes(sign(forked, place.year.key))
    found = check(place, place.report, "--head", other)
    assert found.exit_code == 1
    assert json.loads(found.output)["verdict"] == "DIVERGED"


def test_witnesses_of_the_reader_vouch_for_a_report(place: Place, tmp_path: Path) -> None:
    vouchers, mirror, out = Vouchers(), tmp_path / "mirror", tmp_path / "out"
    shutil.copytree(place.mirror, mirror)
    note = (mirror / "checkpoint").read_bytes()
    text, _ = parse_note(note)
    lines = [each.cosign(text, 1_800_000_000).line for each in vouchers.witnesses[:2]]
    forged = vouchers.witnesses[2].cosign(text.replace("log", "lag"), 1_800_000_000).line
    (mirror / "checkpoint").write_bytes(note + "".join([*lines, forged]).encode())
    policy = tmp_path / "policy"
    policy.write_text(vouchers.policy)
    made = ask(
        "--framework", "soc2", "--period", "2026", "-o", out, "--log", mirror,
        "--log-key", place.key, "--witnesses", policy,
    )  # fmt: skip
    assert made.exit_code == 0, made.output
    found = json.loads(check(place, out, "--witnesses", policy).output)
    assert found["grade"] == "WITNESSED 2/3"
    assert json.loads(check(place, out).output)["grade"] == "UNANCHORED"


def test_what_the_documents_are_lies_beside_it(place: Place) -> None:
    value = value_of(place.report)
    names = {name for name in value["attached"] if name.startswith("documents/")}
    assert {f"documents/{each.hex()}" for each in place.year.documents} >= names
    assert names
    assert value["documents_missing"] == 0


def test_what_the_log_says_of_its_open_cases_is_made_again_and_lies_beside_no_report(
    place: Place,
) -> None:
    texts = [each.read_bytes() for each in (place.report / "documents").iterdir()]
    assert texts
    assert not [each for each in texts if b"muniment-open-cases" in each]


def test_a_document_that_is_not_at_hand_is_said_to_be_missing(place: Place, tmp_path: Path) -> None:
    mirror, out = tmp_path / "mirror", tmp_path / "out"
    shutil.copytree(place.mirror, mirror)
    shutil.rmtree(mirror / "documents")
    made = ask(
        "--framework", "pci", "--period", "2026", "-o", out, "--log", mirror,
        "--log-key", place.key,
    )  # fmt: skip
    assert made.exit_code == 0
    assert value_of(out)["documents_missing"] > 0
    assert check(place, out).exit_code == 0
    assert "are not attached" in (out / "report.html").read_text()


@pytest.mark.parametrize("framework", ["iso27001", "pci", "nistcsf2", "owasp-nhi", "ai-rmf"])
def test_every_framework_can_be_reported_and_checked(
    place: Place, tmp_path: Path, framework: str
) -> None:
    out = tmp_path / "out"
    made = ask(
        "--framework", framework, "--period", "2026-01", "-o", out,
        "--log", place.mirror, "--log-key", place.key, "--json",
    )  # fmt: skip
    assert made.exit_code == 0, made.output
    assert json.loads(made.output)["recorded"] is None
    assert check(place, out).exit_code == 0


def test_a_report_may_be_about_some_resources(place: Place, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ask(
        "--framework", "soc2", "--period", "2026", "-o", out, "--resource", "stock-prod",
        "--log", place.mirror, "--log-key", place.key,
    )  # fmt: skip
    assert value_of(out)["resources"] == ["stock-prod"]
    assert 0 < value_of(out)["population"]["requests"] < 40
    assert check(place, out).exit_code == 0


def test_a_resource_that_never_was_has_no_report(place: Place, tmp_path: Path) -> None:
    out = tmp_path / "out"
    made = ask(
        "--framework", "soc2", "--period", "2026", "-o", out, "--log", place.mirror,
        "--resource", "stock-prod", "--resource", "stok-prod", "--log-key", place.key,
    )  # fmt: skip
    assert isinstance(made.exception, Malformed)
    assert str(made.exception) == "there never was a resource `stok-prod`"
    assert not out.exists()


def test_a_period_that_has_not_begun_has_no_report(place: Place, tmp_path: Path) -> None:
    out = tmp_path / "out"
    made = ask(
        "--framework", "soc2", "--period", "9000", "-o", out, "--log", place.mirror,
        "--log-key", place.key,
    )  # fmt: skip
    assert isinstance(made.exception, Malformed)
    assert str(made.exception) == "the period `9000` has not begun"
    assert not out.exists()


def test_a_period_in_which_nothing_was_written_is_reported_and_tested_of_nothing(
    place: Place, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    made = ask(
        "--framework", "owasp-nhi", "--period", "2026-06", "-o", out,
        "--log", place.mirror, "--log-key", place.key,
    )  # fmt: skip
    assert made.exit_code == 0, made.output
    value = value_of(out)
    assert (value["population"]["requests"], value["over"]) == (0, False)
    assert {each["state"] for each in value["controls"]} == {"not-tested"}
    assert check(place, out).exit_code == 0


OWN_MAP = """
[frameworks.own]
title = "Our own"
publication = "What we promised"
publisher = "Us"
checked = "text"
against = "our own words"
[[frameworks.own.controls]]
id = "1"
where = "page 1"
words = "access ends"
tests = ["ended-in-time"]
covers = "all grants"
cannot = "what is no grant"
"""


def test_a_map_of_ones_own_is_told_from_ours(place: Place, tmp_path: Path) -> None:
    own, out = tmp_path / "own.toml", tmp_path / "out"
    own.write_text(OWN_MAP)
    made = ask(
        "--framework", "own", "--map", own, "--period", "2026", "-o", out,
        "--log", place.mirror, "--log-key", place.key,
    )  # fmt: skip
    assert made.exit_code == 0, made.output
    assert "what we promised" in ask("--list", "--map", own).output.lower()
    found = check(place, out)
    assert found.exit_code == 0
    doubts = json.loads(found.output)["not_proved"]
    assert any("control map is ours" in each for each in doubts)
    ours = json.loads(check(place, place.report).output)["not_proved"]
    assert not any("control map" in each for each in ours)


# --- changed ----------------------------------------------------------------------------------


def rewritten(folder: Path, change: Callable[[Any], None], *, page: bool = True) -> None:
    """A forger who makes report and page fit each other."""
    value = value_of(folder)
    change(value)
    data = canonical.encode(value)
    (folder / "report.json").write_bytes(data)
    if page:
        made = report_page.page(value, sha256(data).hexdigest())
        (folder / "report.html").write_text(made, "utf-8")


def _fewer_exceptions(folder: Path) -> None:
    def change(value: Any) -> None:
        test = next(each for each in value["tests"] if each["exceptions"])
        test |= {"exceptions": 0, "passed": test["tested"], "faults": [], "state": "satisfied"}

    rewritten(folder, change)


def _control_satisfied(folder: Path) -> None:
    def change(value: Any) -> None:
        bad = next(each for each in value["controls"] if each["state"] == "exceptions")
        bad["state"] = "satisfied"

    rewritten(folder, change)


def _other_cannot(folder: Path) -> None:
    rewritten(folder, lambda value: value["controls"][0].update(cannot="nothing"))


def _certified(folder: Path) -> None:
    rewritten(folder, lambda value: value.update(statement="All controls are met."))


def _other_population(folder: Path) -> None:
    rewritten(folder, lambda value: value["population"].update(requests=1))


def _other_figures(folder: Path) -> None:
    rewritten(folder, lambda value: value["figures"]["lead"].update(median_ms=1))


def _other_period(folder: Path) -> None:
    rewritten(folder, lambda value: value["period"].update(to="2026-01-30T00:00:00.000Z"))


def _larger_period(folder: Path) -> None:
    rewritten(folder, lambda value: value["period"].update({"from": "2026-01-01T00:00:00.000Z"}))


def _other_root(folder: Path) -> None:
    rewritten(folder, lambda value: value["log"].update(root="0" * 64))


def _more_in_it(folder: Path) -> None:
    rewritten(folder, lambda value: value.update(certified=True))


def _missing_said_none(folder: Path) -> None:
    rewritten(folder, lambda value: value.update(documents_missing=7))


def _map_changed(folder: Path) -> None:
    text = (folder / "control_map.toml").read_text()
    data = text.replace('tests = ["approved-by-others", ', "tests = [", 1).encode()
    (folder / "control_map.toml").write_bytes(data)
    rewritten(
        folder,
        lambda value: value["attached"].update({"control_map.toml": sha256(data).hexdigest()}),
    )


def _map_byte(folder: Path) -> None:
    with (folder / "control_map.toml").open("a") as file:
        file.write("#")


def _excerpt_shorter(folder: Path) -> None:
    path = folder / "log.excerpt.gz"
    lines = list(excerpt.unzipped([path.read_bytes()]))[:-1]
    data = b"".join(excerpt.zipped(lines))
    path.write_bytes(data)
    rewritten(
        folder,
        lambda value: value["attached"].update({"log.excerpt.gz": sha256(data).hexdigest()}),
    )


def _document_gone(folder: Path) -> None:
    next((folder / "documents").iterdir()).unlink()


def _document_changed(folder: Path) -> None:
    next((folder / "documents").iterdir()).write_bytes(b"permit(principal, action, resource);")


def _document_of_a_stranger(folder: Path) -> None:
    content = b"permit all"
    name = f"documents/{sha256(content).hexdigest()}"
    (folder / name).write_bytes(content)
    rewritten(
        folder,
        lambda value: value["attached"].update({name: sha256(content).hexdigest()}),
    )


def _file_of_a_stranger(folder: Path) -> None:
    (folder / "documents" / "readme.txt").write_text("all is well")


def _link_elsewhere(folder: Path) -> None:
    each = next((folder / "documents").iterdir())
    elsewhere = folder.parent / "elsewhere"
    each.rename(elsewhere)
    each.symlink_to(elsewhere)


def _folder_in_it(folder: Path) -> None:
    (folder / "documents" / "more").mkdir()


def _no_page(folder: Path) -> None:
    (folder / "report.html").unlink()


def _no_excerpt(folder: Path) -> None:
    (folder / "log.excerpt.gz").unlink()


def _no_report(folder: Path) -> None:
    (folder / "report.json").unlink()


def _outside(folder: Path) -> None:
    secret = folder.parent / "secret"
    secret.write_bytes(b"x")
    rewritten(
        folder,
        lambda value: value["attached"].update({"../secret": sha256(b"x").hexdigest()}),
    )


def _bundle_of_a_stranger(folder: Path) -> None:
    (folder / "bundles").mkdir()
    content = b"{}"
    name = f"bundles/mun_{'a' * 26}.json"
    (folder / name).write_bytes(content)
    rewritten(
        folder,
        lambda value: value["attached"].update({name: sha256(content).hexdigest()}),
    )


def _page_alone(folder: Path) -> None:
    path = folder / "report.html"
    path.write_text(path.read_text().replace("exceptions", "no exception", 1))


def _page_of_another(folder: Path) -> None:
    rewritten(folder, lambda value: None, page=False)
    path = folder / "report.html"
    path.write_text(path.read_text().replace("sha256:", "sha256:0", 1))


def _json_with_spaces(folder: Path) -> None:
    path = folder / "report.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()), indent=1))


def _json_deep(folder: Path) -> None:
    (folder / "report.json").write_bytes(b"[" * 100_000)


def _no_attachments(folder: Path) -> None:
    rewritten(folder, lambda value: value.update(attached={}))


def _framework_as_list(folder: Path) -> None:
    rewritten(folder, lambda value: value["framework"].update(id=["soc2"]))


@pytest.mark.parametrize(
    ("attack", "step"),
    [
        (_fewer_exceptions, 8),
        (_control_satisfied, 8),
        (_other_cannot, 8),
        (_certified, 8),
        (_other_population, 8),
        (_other_figures, 8),
        (_other_period, 8),
        (_larger_period, 8),
        (_other_root, 8),
        (_more_in_it, 8),
        (_missing_said_none, 8),
        (_map_changed, 8),
        (_map_byte, 7),
        (_excerpt_shorter, 4),
        (_document_gone, 7),
        (_document_changed, 7),
        (_document_of_a_stranger, 8),
        (_file_of_a_stranger, 7),
        (_outside, 7),
        (_link_elsewhere, 7),
        (_folder_in_it, 7),
        (_no_page, 10),
        (_no_excerpt, 1),
        (_no_report, 7),
        (_bundle_of_a_stranger, 9),
        (_page_alone, 10),
        (_page_of_another, 10),
        (_json_with_spaces, 7),
        (_json_deep, 7),
        (_no_attachments, 7),
        (_framework_as_list, 8),
    ],
)
def test_whatever_is_changed_fails_at_its_step(
    place: Place, copy: Path, attack: Callable[[Path], None], step: int
) -> None:
    assert check(place, copy).exit_code == 0
    attack(copy)
    found = check(place, copy)
    assert found.exit_code == 1, found.output
    assert found.exception is None or isinstance(found.exception, SystemExit)
    assert json.loads(found.output)["failed_step"] == step, found.output


def test_another_key_than_the_readers_proves_nothing(place: Place, tmp_path: Path) -> None:
    other = tmp_path / "other.vkey"
    other.write_text(SigningKey.generate(place.year.key.verifier.name).verifier.vkey)
    found = ask("--check", place.report, "--log-key", other)
    assert found.exit_code == 1
    assert "INVALID" in found.output


@pytest.mark.parametrize("version", ["0.0.1", "9\x1b[2J", None, 3])
def test_a_page_that_another_version_is_said_to_have_made_does_not_pass_unseen(
    place: Place, copy: Path, version: object
) -> None:
    rewritten(copy, lambda value: value.update(program=version))
    (copy / "report.html").write_text("<h1>All controls are met</h1>")
    found = check(place, copy)
    assert found.exit_code == 1
    assert json.loads(found.output)["failed_step"] == 10
    said = json.loads(found.output)["reason"]
    assert "check it with that version, as it was published" in said
    assert ("version 0.0.1 " in said) == (version == "0.0.1")
    assert "\x1b" not in said
    found = check(place, copy, "--without-pages")
    assert found.exit_code == 0, found.output
    answer = json.loads(found.output)
    assert 10 not in [each["step"] for each in answer["steps"]]
    assert any("do not read them" in each for each in answer["not_proved"])


@pytest.mark.parametrize(
    "make",
    [
        os.mkfifo,
        lambda path: path.symlink_to("/dev/zero"),
        lambda path: path.symlink_to(__file__),
        lambda path: path.mkdir(),
        lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_WRONLY), 100 << 30),
    ],
    ids=["pipe", "zeros", "link", "folder", "sparse"],
)
@pytest.mark.parametrize(
    "name",
    ["report.json", "report.html", "oscal.json", "log.excerpt.gz", "control_map.toml",
     "keys/log.vkey", "document", "bundles", "more"],
)  # fmt: skip
def test_what_is_no_plain_file_is_refused_at_once(
    place: Place, copy: Path, make: Callable[[Path], object], name: str
) -> None:
    documents = (each for each in sorted((copy / "documents").iterdir()))
    path = next(documents) if name == "document" else copy / name
    path.unlink(missing_ok=True)
    make(path)
    signal.alarm(20)  # ends all of it: a pipe that is waited for answers nobody
    try:
        found = check(place, copy)
    finally:
        signal.alarm(0)
    assert found.exit_code == 1
    assert isinstance(found.exception, SystemExit), found.exception


@pytest.mark.parametrize(
    "name",
    ["summary.html", "REPORT.HTML", "report.html.", "report.html ", "README.txt", ".hidden",
     "new/page.html", "keys/README.html", "report\u202elmth.exe", "a\nb", "a\x1b[2Jb"],
)  # fmt: skip
def test_a_file_that_no_report_has_is_named_and_refused(
    place: Place, copy: Path, name: str
) -> None:
    (copy / name).parent.mkdir(exist_ok=True)
    (copy / name).write_text("All controls are met.")
    found = ask("--check", copy, "--log-key", place.key)
    assert found.exit_code == 1
    assert "is no file of this report" in found.output
    assert not set(found.output) & set("\u202e\x1b")
    if name.startswith("keys/"):  # whoever lists it himself
        hashed = sha256(b"All controls are met.").hexdigest()
        rewritten(copy, lambda value: value["attached"].update({name: hashed}))
        assert json.loads(check(place, copy).output)["failed_step"] == 7


def test_a_folder_of_it_that_is_a_link_is_not_entered(
    place: Place, copy: Path, tmp_path: Path
) -> None:
    (copy / "documents").rename(tmp_path / "elsewhere")
    (copy / "documents").symlink_to(tmp_path / "elsewhere")
    found = check(place, copy)
    assert found.exit_code == 1
    assert json.loads(found.output)["failed_step"] == 7


def test_the_key_that_lies_there_is_the_one_that_signed(place: Place, copy: Path) -> None:
    other = f"{SigningKey.generate(place.year.key.verifier.name).verifier.vkey}\n".encode()
    (copy / "keys/log.vkey").write_bytes(other)
    hashed = sha256(other).hexdigest()
    rewritten(copy, lambda value: value["attached"].update({"keys/log.vkey": hashed}))
    found = json.loads(check(place, copy).output)
    assert (found["failed_step"], "another key" in found["reason"]) == (7, True)


# --- asked ------------------------------------------------------------------------------------


def test_the_frameworks_are_listed() -> None:
    found = ask("--list")
    assert found.exit_code == 0
    for name in ("soc2", "iso27001", "pci", "nistcsf2", "owasp-nhi", "ai-rmf"):
        assert name in found.output
    listed = json.loads(ask("--list", "--json").output)["frameworks"]
    assert all(control["words"] for each in listed for control in each["controls"])


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--list", "--framework", "soc2"),
        ("--framework", "soc2"),
        ("--framework", "soc2", "--period", "2026"),
        ("--framework", "soc2", "--period", "2026", "-o", "x", "--log", "y"),
        ("--check", "."),
    ],
)
def test_what_is_not_enough_to_go_by_is_a_usage_error(arguments: Sequence[str]) -> None:
    found = ask(*arguments)
    assert found.exit_code == 2
    assert "Usage" in found.output


def test_a_folder_is_never_written_over(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["report", "--framework", "soc2", "--period", "2026", "-o", str(place.report)]
    arguments += ["--log", str(place.mirror), "--log-key", str(place.key)]
    assert run(arguments) == 1
    assert "exists already" in capsys.readouterr().err
    assert check(place, place.report).exit_code == 0


def test_a_framework_that_there_is_not_is_said_with_those_there_are(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["report", "--framework", "soc3", "--period", "2026", "-o", str(tmp_path / "x")]
    arguments += ["--log", str(place.mirror), "--log-key", str(place.key)]
    assert run(arguments) == 2
    assert "soc2" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("text", "first", "after"),
    [
        ("2026", "2026-01-01", "2027-01-01"),
        ("2026-Q4", "2026-10-01", "2027-01-01"),
        ("2026-12", "2026-12-01", "2027-01-01"),
        ("2026-02-03..2026-02-03", "2026-02-03", "2026-02-04"),
    ],
)
def test_a_period_has_its_first_day_and_its_last(text: str, first: str, after: str) -> None:
    start, stop = whole_days(text)
    assert (f"{start:%Y-%m-%d}", f"{stop:%Y-%m-%d}") == (first, after)


@pytest.mark.parametrize(
    "text", ["", "x", "2026-13", "2026-Q5", "9999", "2026-02-30..2026-03-01", "2026-02..2026-01-01",
             "2026-02-02..2026-01-01", "٢٠٢٦-99"]
)  # fmt: skip
def test_what_is_no_period_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(Malformed, match="period"):
        whole_days(text)


# --- the page ---------------------------------------------------------------------------------


def test_nothing_that_somebody_wrote_reaches_the_page_as_markup(place: Place) -> None:
    value = value_of(place.report)
    hostile = '<script>alert("&")</script>'
    value["framework"]["title"] = hostile
    value["resources"] = [hostile]
    value["log"]["origin"] = hostile
    for test in value["tests"]:
        test["faults"] = [{"about": hostile, "why": hostile}]
        test["exceptions"] = 1
        test["because"] = hostile
    page = report_page.page(value, "0" * 64)
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_the_page_needs_nothing_from_elsewhere_and_runs_nothing(place: Place) -> None:
    page = (place.report / "report.html").read_text()
    for word in ("<script", "http:", "https:", "src=", "@import", "url(", "<link", "<iframe"):
        assert word not in page, word


def test_the_page_itself_forbids_whatever_it_does_not_need(place: Place) -> None:
    page = (place.report / "report.html").read_text()
    head = page.partition("<style>")[0]
    assert 'http-equiv="Content-Security-Policy"' in head, "before anything could be fetched"
    assert "default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'sha256-" in head
    style = page.partition("<style>")[2].partition("</style>")[0]
    assert b64encode(sha256(style.encode()).digest()).decode() in head
    assert "unsafe" not in head
    assert "style=" not in page


def test_the_page_names_the_report_that_it_shows(place: Place) -> None:
    digest = sha256((place.report / "report.json").read_bytes()).hexdigest()
    page = (place.report / "report.html").read_text()
    assert report_page.digest_line(digest) in page
    assert f"sha256:{digest}</code>" in page
