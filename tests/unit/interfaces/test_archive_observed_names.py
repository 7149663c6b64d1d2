"""Files of an archive are named after cases of its proved list, and after nothing else."""

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from muniment.errors import LogInvalid
from muniment.interfaces.cli import archive
from muniment.interfaces.cli.archive import Taking


class Lying:
    """A service that names a file of its own choice."""

    url = "http://127.0.0.1"

    def post(self, _path: str, _body: object) -> dict[str, Any]:
        return {"archive": "arc_x", "observed": ["../../outside"]}

    def text(self, _path: str) -> str:
        return ""

    def file(self, _path: str, **_query: str) -> SimpleNamespace:
        return SimpleNamespace(content=b"planted")


def test_the_service_names_no_file_outside_of_the_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "VerifierKey", SimpleNamespace(parse=lambda _text: None))
    opened = SimpleNamespace(listed=())
    monkeypatch.setattr(Taking, "_archive", lambda _self, _case, _key: opened)
    taking = Taking(
        api=Lying(),  # type: ignore[arg-type]  # answers as the service does
        folder=tmp_path / "some" / "archive",
        since=datetime(2026, 1, 1, tzinfo=UTC),
        until=datetime(2026, 2, 1, tzinfo=UTC),
        resources=(),
    )
    with pytest.raises(LogInvalid, match="not in the archive"):
        taking.take()
    assert not list(tmp_path.rglob("outside*"))
