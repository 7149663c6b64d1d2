"""`[callbacks]` in the settings: who may be told where, and what is refused before it is used."""

import base64
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from muniment.errors import ConfigInvalid
from muniment.runtime.callbacks import read_callbacks
from muniment.runtime.settings import Server, Settings

KEY = "whsec_" + base64.b64encode(bytes(32)).decode()
PEP = "https://pep.example.com/callbacks"


def settings(**callbacks: dict[str, Any]) -> Settings:
    value = {"installation": {"origin": "muniment.example/log"}, "callbacks": callbacks}
    value |= {"server": {"public_url": "https://muniment.example"}}
    return Settings.model_validate(value)


def one(**changes: Any) -> dict[str, Any]:
    return {"endpoint": PEP, "secret": "file:key", "principals": ["ana"], **changes}


def test_a_callback_is_known_by_its_endpoint_and_its_secret_stays_one(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY)
    found = read_callbacks(settings(pep=one()), tmp_path)
    assert found.keys() == {PEP}
    assert found[PEP].principals == {"ana"}
    assert found[PEP].allow == frozenset()
    assert KEY not in repr(found)


def test_only_an_internal_callback_may_lie_inside_or_be_without_tls(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY)
    inside = one(endpoint="http://10.0.0.7:8080/hook", internal=True)
    [found] = read_callbacks(settings(pep=inside), tmp_path).values()
    assert found.allow == {"http://10.0.0.7:8080"}
    with pytest.raises(ConfigInvalid, match="https"):
        read_callbacks(settings(pep=one(endpoint="http://10.0.0.7:8080/hook")), tmp_path)


@pytest.mark.parametrize(
    "endpoint", ["pep.example.com", "ftp://pep.example.com/", "https://user:pw@pep.example.com/"]
)
def test_an_endpoint_that_is_no_url_is_refused_by_the_name_of_its_setting(
    tmp_path: Path, endpoint: str
) -> None:
    (tmp_path / "key").write_text(KEY)
    with pytest.raises(ConfigInvalid, match=r"`callbacks\.pep\.endpoint`") as refused:
        read_callbacks(settings(pep=one(endpoint=endpoint)), tmp_path)
    assert "pw" not in str(refused.value)


@pytest.mark.parametrize("key", ["secret", "whsec_", "whsec_AAAA", "whsec_not base64", KEY[:-1]])
def test_a_secret_that_is_no_key_is_refused_and_not_repeated(tmp_path: Path, key: str) -> None:
    (tmp_path / "key").write_text(key)
    with pytest.raises(ConfigInvalid, match=r"`callbacks\.pep\.secret`") as refused:
        read_callbacks(settings(pep=one()), tmp_path)
    assert "AAAA" not in str(refused.value)


def test_one_endpoint_is_registered_once(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY)
    with pytest.raises(ConfigInvalid, match="same endpoint"):
        read_callbacks(settings(one=one(), other=one(principals=["bo"])), tmp_path)


def test_callbacks_without_an_address_of_our_own_are_refused() -> None:
    """Else whoever asks would choose, by his `Host`, which links others are sent."""
    value = {"installation": {"origin": "muniment.example/log"}, "callbacks": {"pep": one()}}
    with pytest.raises(ValidationError, match=r"set `server\.public_url`"):
        Settings.model_validate(value)


def test_only_addresses_and_networks_are_proxies() -> None:
    assert Server(proxies=("10.0.0.0/8", "::1")).proxies == ("10.0.0.0/8", "::1")
    with pytest.raises(ValidationError, match=r"`proxy\.internal` is no address and no network"):
        Server(proxies=("proxy.internal",))
