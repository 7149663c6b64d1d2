"""Settings about SCIM: who writes which provider's people, and by what they are known."""

from pathlib import Path

import pytest
from folders import TOML

from muniment.errors import ConfigInvalid
from muniment.runtime.outbound import CheckedOutbound
from muniment.runtime.providers import read_providers
from muniment.runtime.settings import read_settings

PROVIDER = """
[providers.{name}]
kind = "{kind}"
issuer = "https://{name}.example.org"
audience = "muniment"
{more}
"""


def provider(name: str, more: str, kind: str = "people") -> str:
    return PROVIDER.format(name=name, more=more, kind=kind)


def write(folder: Path, *providers: str) -> None:
    (folder / "muniment.toml").write_text("\n".join([TOML, *providers]))


def test_a_provider_names_the_workload_that_writes_its_people(tmp_path: Path) -> None:
    write(
        tmp_path,
        provider("okta", 'groups = "scim"\nscim = "ci"\nscim_subject = "userName"'),
        provider("entra", ""),
    )
    read = read_providers(read_settings(tmp_path), tmp_path, CheckedOutbound())
    rules = read.providers.rules
    assert (rules["okta"].scim, rules["okta"].scim_subject) == ("ci", "userName")
    assert (rules["entra"].scim, rules["entra"].scim_subject) == (None, "externalId")


@pytest.mark.parametrize(
    ("providers", "words"),
    [
        ([provider("okta", 'groups = "scim"\nscim = "nobody"')], "names no workload: `nobody`"),
        ([provider("okta", 'groups = "scim"\nscim = "ana"')], "names no workload: `ana`"),
        ([provider("okta", 'scim = "ci"')], "go together"),
        ([provider("okta", 'groups = "scim"')], "go together"),
        ([provider("okta", 'groups = "scim"\nscim = "ci"', "spiffe")], "only people"),
        ([provider("okta", 'groups = "scim"\nscim = "ci"\nscim_subject = "mail"')], "externalId"),
        (
            [provider(name, 'groups = "scim"\nscim = "ci"') for name in ("okta", "entra")],
            "give each provider one of its own",
        ),
    ],
)
def test_settings_that_leave_open_who_writes_whom_are_refused(
    tmp_path: Path, providers: list[str], words: str
) -> None:
    write(tmp_path, *providers)
    with pytest.raises(ConfigInvalid) as caught:
        read_settings(tmp_path)
    assert words in str(caught.value)
