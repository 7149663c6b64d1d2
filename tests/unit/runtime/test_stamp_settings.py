"""`[stamps]` in the settings: which authorities are asked, and what is refused at once."""

from datetime import timedelta
from pathlib import Path

import pytest

from muniment.errors import ConfigInvalid
from muniment.operations.stamp import Authority
from muniment.runtime.settings import Settings
from muniment.runtime.stamps import read_authorities
from muniment.testing.time_stamps import Issuer


def authorities(folder: Path, **sections: dict[str, object]) -> tuple[Authority, ...]:
    settings = Settings.model_validate(
        {"installation": {"origin": "muniment.example/log"}, "stamps": sections}
    )
    return read_authorities(settings, folder)


def test_an_authority_is_asked_every_hour_unless_told_otherwise(tmp_path: Path) -> None:
    root = Issuer(name="Example Root")
    (tmp_path / "tsa.pem").write_bytes(root.pem)
    first, second = authorities(
        tmp_path,
        example={"url": "https://tsa.example/", "root": "tsa.pem"},
        other={"url": "http://10.0.0.7:318/tsr", "internal": True, "every": "15m"},
    )
    assert (first.name, first.every, first.roots) == (
        "example", timedelta(hours=1), (root.certificate,)
    )  # fmt: skip
    assert first.allow == frozenset()
    assert (second.every, second.roots) == (timedelta(minutes=15), ())
    assert second.allow == {"http://10.0.0.7:318"}


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"url": "http://tsa.example/"}, "begins with `https://`, or is `internal = true`"),
        ({"url": "tsa.example"}, "`stamps.example.url`"),
        ({"url": "https://tsa.example/", "root": "gone.pem"}, "No such file"),
        ({"url": "https://tsa.example/", "root": "empty.pem"}, "no PEM file with certificates"),
    ],
)
def test_what_cannot_be_asked_is_refused_naming_the_setting(
    section: dict[str, object], said: str, tmp_path: Path
) -> None:
    (tmp_path / "empty.pem").touch()
    with pytest.raises(ConfigInvalid, match=r"stamps\.example") as caught:
        authorities(tmp_path, example=section)
    assert said in str(caught.value)


def test_no_section_is_no_authority(tmp_path: Path) -> None:
    assert authorities(tmp_path) == ()
