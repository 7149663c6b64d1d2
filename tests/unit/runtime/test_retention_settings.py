"""`[retention]`: off until somebody writes a ceiling, and refused where it cannot be meant."""

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from muniment.runtime.retention_section import RetentionSection

DAY = timedelta(days=1)


def section(**said: Any) -> RetentionSection:
    return RetentionSection.model_validate(said)


def test_nothing_said_is_nothing_erased() -> None:
    rules = section().rules()
    assert (rules.classes, rules.automatic, rules.every) == ((), False, None)


def test_presets_and_classes_become_rules() -> None:
    said = {
        "text": {"sections": ["reason"], "ceiling": "400d"},
        "logs": {"sources": ["*"], "floor": "9d"},
    }
    rules = section(presets=["pci"], classes=said, every="1d", automatic=True).rules()
    assert [(each.name, each.floor, each.ceiling) for each in rules.classes] == [
        ("pci", 366 * DAY, None),
        ("pci", 366 * DAY, None),
        ("text", None, 400 * DAY),
        ("logs", 9 * DAY, None),
    ]
    assert (rules.every, rules.automatic, rules.two_people_above) == (DAY, True, 100)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"presets": ["gdpr"]}, "gives no number"),
        ({"presets": ["hippa"]}, "is no preset"),
        ({"presets": ["pci"], "classes": {"pci": {"floor": "1d"}}}, "the name of a preset"),
        ({"classes": {"c": {}}}, "a `floor`, a `ceiling`, or both"),
        ({"classes": {"c": {"floor": "9d", "ceiling": "2d"}}}, "beyond its `ceiling`"),
        ({"classes": {"c": {"ceiling": "2d", "kinds": ["acess:requested"]}}}, "no kind of record"),
        ({"classes": {"c": {"ceiling": "2d", "kinds": ["log:heartbeat"]}}}, "no kind of record"),
        ({"classes": {"c": {"floor": "2d", "sections": ["resaon"]}}}, "has a section `resaon`"),
        ({"classes": {"c": {"ceiling": "2d", "sources": ["*"], "data": ["x"]}}}, "raw events"),
        ({"classes": {"C c": {"ceiling": "2d"}}}, "pattern"),
        ({"classes": {"c": {"ceiling": "2d", "sectoins": ["x"]}}}, "sectoins"),
        ({"automatic": True}, "set `every`"),
        ({"every": "5s"}, "at least 1m"),
        ({"two_people_above": -1}, "greater than or equal"),
    ],
)
def test_what_cannot_be_meant_is_refused(said: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        section(**said)
