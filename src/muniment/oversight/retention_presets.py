"""
How long others say that evidence is to be kept: floors to name in `muniment.toml`, with sources.

They are read from the texts that they name, and are no legal advice: a preset says what its source
says, to whom it binds, and how far that was looked up. What is written as "no longer than
necessary" has no number, and so no preset: there one's own class says it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from muniment.oversight.retention import EVERY, Class


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A floor that somebody else asks for."""

    #: years and months as the longest they can be: a floor is never too short by a leap year
    floor: timedelta | None
    source: str
    #: `duty`: it binds whom it applies to; `customary`; `own number`: it asks for a period that is
    #: written down, and gives none
    status: str
    note: str


PRESETS: Final[Mapping[str, Preset]] = {
    "pci": Preset(
        floor=timedelta(days=366),
        source="PCI DSS 4.0.1, 10.5.1",
        status="duty",
        note="audit trails for 12 months, the last three at hand",
    ),
    "hipaa": Preset(
        floor=timedelta(days=2192),
        source="45 CFR 164.316(b)(2)(i)",
        status="duty",
        note="6 years for required documentation; customarily for evidence of access, too",
    ),
    "sox": Preset(
        floor=timedelta(days=2558),
        source="17 CFR 210.2-06(a)",
        status="customary",
        note="7 years bind accountants; issuers commonly keep their evidence as long",
    ),
    "sec-17a-4": Preset(
        floor=timedelta(days=2192),
        source="17 CFR 240.17a-4",
        status="duty",
        note="3 to 6 years for broker-dealers, by kind of record; the longer here",
    ),
    "ai-act": Preset(
        floor=timedelta(days=184),
        source="Regulation (EU) 2024/1689, articles 19 and 26(6)",
        status="duty",
        note="logs of high-risk AI systems for at least 6 months",
    ),
    "dora": Preset(
        floor=None,
        source="Regulation (EU) 2022/2554",
        status="own number",
        note="a period that is written down and justified",
    ),
    "nis2": Preset(
        floor=None,
        source="Directive (EU) 2022/2555",
        status="own number",
        note="a period that is written down and justified",
    ),
    "gdpr": Preset(
        floor=None,
        source="Regulation (EU) 2016/679, articles 5(1)(e) and 30(1)(f)",
        status="own number",
        note="no longer than necessary, with a documented limit: a ceiling of your own",
    ),
}


def classes_of(name: str) -> tuple[Class, ...]:
    """What a preset asks for: of sealed sections, and of raw events."""
    preset = PRESETS[name]
    origin = f"{preset.source} ({preset.status}): {preset.note}"
    return (
        Class(name=name, floor=preset.floor, origin=origin),
        Class(name=name, floor=preset.floor, sources=frozenset([EVERY]), origin=origin),
    )
