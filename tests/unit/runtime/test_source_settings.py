"""`[sources]` in the settings: what each kind of source takes, and what is refused."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from muniment.errors import ConfigInvalid
from muniment.runtime.settings import Settings, read_settings
from muniment.runtime.source_section import SourceSection

FILE = {"kind": "file", "reader": "postgresql", "path": "/var/log/postgresql/*.json"}
S3 = {"kind": "s3", "reader": "cloudtrail", "bucket": "trail"}
SYSLOG = {"kind": "syslog", "reader": "sshd", "listen": "127.0.0.1:6514"}
HOOK = {"kind": "webhook", "reader": "pager", "signature": "pagerduty", "secret": "env:KEY"}
TOML = """
[installation]
origin = "muniment.example/log"
[resources.orders]
connector = "postgresql"
tier = "prod"
environment = "prod"
[resources.orders.roles.read]
[sources.orders-log]
kind = "file"
reader = "postgresql"
resource = "orders"
path = "/var/log/postgresql/*.json"
heartbeat = "5m"
expects = ["session.opened", "statement"]
standing_accounts = ["app_*"]
[sources.orders-log.options]
ignore = ["backup"]
"""


def settings(**sources: dict[str, Any]) -> Settings:
    value = {"installation": {"origin": "muniment.example/log"}, "sources": sources}
    return Settings.model_validate(value)


def test_a_source_stands_in_the_file_with_its_readers_own_table(tmp_path: Path) -> None:
    (tmp_path / "muniment.toml").write_text(TOML)
    source = read_settings(tmp_path).sources["orders-log"]
    assert (source.kind, source.reader, source.resource) == ("file", "postgresql", "orders")
    assert source.heartbeat == timedelta(minutes=5)
    assert source.options == {"ignore": ["backup"]}
    assert source.begin == "end"


def test_a_key_that_is_misspelled_is_refused_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "muniment.toml").write_text(TOML.replace("heartbeat =", "hartbeat ="))
    with pytest.raises(ConfigInvalid, match="did you mean `heartbeat`"):
        read_settings(tmp_path)


@pytest.mark.parametrize(
    "section",
    [
        FILE,
        {**FILE, "begin": "start"},
        {"kind": "journald", "reader": "sshd"},
        {"kind": "journald", "reader": "sshd", "units": ["ssh.service", "getty@*"]},
        {"kind": "directory", "reader": "cloudtrail", "path": "trail/**/*.json.gz", "every": "1m"},
        S3,
        {**S3, "prefix": "AWSLogs/1/CloudTrail/eu-west-1/", "begin": "start"},
        SYSLOG,
        {**SYSLOG, "listen": "0.0.0.0:6514", "plain": True},
        {**SYSLOG, "tls_certificate": "c.pem", "tls_key": "k.pem", "client_ca": "ca.pem"},
        {"kind": "push", "reader": "kubernetes", "posts_per_minute": 6000},
        HOOK,
    ],
)
def test_every_kind_of_source_is_taken(section: dict[str, Any]) -> None:
    assert settings(one=section).sources["one"].kind == section["kind"]


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"kind": "file", "reader": "sshd"}, "has a `path`"),
        ({**FILE, "bucket": "trail"}, '`bucket` is for `kind = "s3"`'),
        ({**FILE, "secret": "env:KEY"}, '`secret` is for `kind = "webhook"`'),
        ({**FILE, "listen": "127.0.0.1:1"}, '`listen` is for `kind = "syslog"`'),
        ({**FILE, "kind": "tape"}, "kind"),
        ({**FILE, "reader": None}, "reader"),
        ({**FILE, "expects": ["sessions"]}, "`sessions` is no type of event"),
        ({**FILE, "options": {"share": 0.5}}, "a whole number"),
        ({**FILE, "heartbeat": "often"}, "heartbeat"),
        ({"kind": "journald", "reader": "sshd", "units": ["--output=cat"]}, "units"),
        ({"kind": "journald", "reader": "sshd", "units": ["ssh service"]}, "units"),
        ({"kind": "s3", "reader": "cloudtrail"}, "has a `bucket`"),
        ({**S3, "every": "10ms"}, "every"),
        ({**S3, "every": "2h"}, "between every 1s and every 1h"),
        ({**S3, "access_key": "env:A"}, "go together"),
        ({**S3, "access_key": "AKIA1", "secret_key": "env:B"}, "not the secret"),
        ({**SYSLOG, "tls_certificate": "c.pem"}, "go together"),
        ({**SYSLOG, "client_ca": "ca.pem"}, "goes with"),
        ({**HOOK, "secret": "whsec_abc"}, "not the secret"),
        ({**HOOK, "signature": None}, "signature"),
        ({"kind": "webhook", "reader": "pager", "signature": "github"}, "has a `secret`"),
        ({**HOOK, "posts_per_minute": 0}, "posts_per_minute"),
        ({**FILE, "resource": "orders"}, "no resource is `orders`"),
    ],
)
def test_what_is_no_source_is_refused_with_what_to_write(
    section: dict[str, Any], says: str
) -> None:
    given = {key: value for key, value in section.items() if value is not None}
    with pytest.raises(ValidationError) as refused:
        settings(one=given)
    assert says in str(refused.value)
    assert "AKIA1" not in "".join(str(each["msg"]) for each in refused.value.errors())


def test_two_sources_do_not_listen_on_one_port() -> None:
    with pytest.raises(ValidationError, match="two of them listen on"):
        settings(one=SYSLOG, other=SYSLOG)


def test_every_setting_but_those_of_all_kinds_says_which_kinds_have_it() -> None:
    from muniment.runtime.source_section import _OF_KINDS

    of_all = {"kind", "reader", "resource", "heartbeat", "expects", "standing_accounts", "options"}
    assert SourceSection.model_fields.keys() == _OF_KINDS.keys() | of_all
