"""`[notices]` in the settings: what is refused, and that no secret of it is shown or recorded."""

import base64
from pathlib import Path

import pytest
from click.testing import CliRunner
from folders import TOML, install, make_folder

from muniment.errors import ConfigInvalid
from muniment.interfaces.cli.main import muniment
from muniment.runtime.files import read_proposed
from muniment.runtime.notices import read_notifiers
from muniment.runtime.outbound import CheckedOutbound
from muniment.runtime.settings import read_settings
from muniment.sinks.webhook import Webhook
from muniment.testing.fake_target import FakeTarget
from muniment.testing.stand_ins import SteppedClock

SECRET = "whsec_" + base64.b64encode(bytes(32)).decode()
MAIL = """
[notices.post]
kind = "mail"
url = "file:mail-url"
"""
HOOK = """
[notices.siem]
kind = "webhook"
url = "env:HOOK_URL"
secret = "env:HOOK_SECRET"
events = ["ended"]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    install(monkeypatch, FakeTarget(lambda: SteppedClock().wall))
    monkeypatch.setenv("HOOK_URL", "https://siem.example.com/in/t0ken")
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    (tmp_path / "mail-url").write_text("mailtos://me:pa55word@smtp.example.com\n")
    return make_folder(tmp_path, TOML + MAIL + HOOK)


def read(folder: Path, more: str) -> None:
    (folder / "muniment.toml").write_text(TOML + more)
    read_notifiers(read_settings(folder), folder, CheckedOutbound())


def test_each_way_is_read_with_its_secrets_by_reference(folder: Path) -> None:
    found = read_notifiers(read_settings(folder), folder, CheckedOutbound())
    assert found["post"].personal
    assert isinstance(found["siem"], Webhook)


def test_the_configuration_that_is_recorded_has_references_and_no_secret(folder: Path) -> None:
    _, proposed = read_proposed(folder)
    assert b"file:mail-url" in proposed.configuration
    for secret in (b"pa55word", b"t0ken", SECRET.encode()):
        assert secret not in proposed.configuration


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (MAIL.replace("file:mail-url", "mailto://me:pa55word@x"), "a reference"),
        (MAIL.replace("file:mail-url", "file:gone"), "gone"),
        (MAIL + 'secret = "env:HOOK_SECRET"', "a webhook has"),
        (MAIL + "internal = true", "is for a webhook"),
        (MAIL + 'events = ["everything"]', "events"),
        (HOOK.replace('secret = "env:HOOK_SECRET"\n', ""), "a webhook has"),
        (HOOK.replace("env:HOOK_URL", "file:mail-url"), r"notices\.siem\.url"),
        (HOOK.replace("env:HOOK_SECRET", "env:HOOK_URL"), "is no key"),
        (MAIL.replace('"mail"', '"pigeon"'), "kind"),
    ],
)
def test_what_does_not_hold_is_refused_by_its_name(folder: Path, more: str, says: str) -> None:
    with pytest.raises(ConfigInvalid, match=says) as refused:
        read(folder, more)
    for secret in ("pa55word", "t0ken", SECRET):
        assert secret not in str(refused.value)


def test_a_webhook_without_tls_has_to_be_internal(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK_URL", "http://10.0.0.7:9000/")
    with pytest.raises(ConfigInvalid, match="https"):
        read(folder, HOOK)
    read(folder, HOOK + "internal = true")


def test_check_looks_at_the_ways_of_telling(folder: Path) -> None:
    good = CliRunner().invoke(muniment, ["check", "--dir", str(folder)])
    assert good.exit_code == 0, good.output
    assert "public_url" in good.output
    (folder / "mail-url").write_text("no-such-service://x")
    with pytest.raises(ConfigInvalid, match=r"notices\.post\.url"):
        CliRunner().invoke(
            muniment, ["check", "--dir", str(folder)], catch_exceptions=False, standalone_mode=False
        )


@pytest.mark.parametrize("arguments", [["gone"], ["post"], ["post", "--to", "nobody"]])
def test_a_test_message_needs_a_way_and_somebody(folder: Path, arguments: list[str]) -> None:
    with pytest.raises(ConfigInvalid):
        CliRunner().invoke(
            muniment,
            ["notices", "test", *arguments, "--dir", str(folder)],
            catch_exceptions=False,
            standalone_mode=False,
        )
