"""The page `/health`: what would not stand up of the evidence, how that went, and what to do."""

import asyncio
import re
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from muniment.interfaces.console.browser import PersonDep
from muniment.interfaces.console.pages import PageRoute, page
from muniment.interfaces.http.context import ServiceDep
from muniment.operations import health, reading
from muniment.operations.service import Service

router = APIRouter(include_in_schema=False, route_class=PageRoute)

_PRINCIPAL: Final = re.compile(r"prn_[a-z2-7]{26}", re.ASCII)
#: measurements that are drawn, and the room that each has, in units of the drawing
_DRAWN, _STEP, _HEIGHT = 60, 10, 100
#: so high a bar is at least: a day on which nothing was weak was measured, too
_LEAST: Final = 1
#: cases that are named of each kind
_NAMED: Final = 5


@router.get("/health")
async def show(request: Request, service: ServiceDep, person: PersonDep) -> Response:
    """The weaknesses that there are, worst first; those that there are none of in one line."""
    judged = await asyncio.to_thread(health.overall, service, person)
    await reading.note(service, person, "health")
    rows = judged["weaknesses"]
    return page(
        request,
        "health.html",
        person=person,
        judged=judged,
        found=[_row(service, row) for row in rows if row["count"]],
        absent=[_sentence(row["title"]) for row in rows if not row["count"]],
        log=[_told(row) for row in judged["log"]],
        drawing=_drawing(judged["trend"][-_DRAWN:]),
    )


def _row(service: Service, row: dict[str, Any]) -> dict[str, Any]:
    cases = [
        {"case": each["case"], "says": _parts(_in_words(service, each["says"]))}
        for each in row["cases"][:_NAMED]
    ]
    return {**_told(row), "cases": cases}


def _told(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "title": _sentence(row["title"]), "advice": _parts(row["advice"])}


def _sentence(title: str) -> str:
    return title[:1].upper() + title[1:]


def _parts(words: str) -> list[tuple[str, bool]]:
    """What stands in backticks, and what does not."""
    return [(part, number % 2 == 1) for number, part in enumerate(words.split("`")) if part]


def _in_words(service: Service, words: str) -> str:
    """Whoever reads this knows logins, not ids."""
    return _PRINCIPAL.sub(
        lambda found: (service.identity(found[0]) or {}).get("login", "") or found[0], words
    )


def _drawing(points: list[dict[str, Any]]) -> dict[str, Any] | None:
    """One bar for each measurement: how many recent grants were weak. None before there are two."""
    counts = [point["recent_weak"] for point in points]
    if len(counts) < 2:  # noqa: PLR2004 (one of them is no trend)
        return None
    most = max(*counts, 1)
    heights = [max(_LEAST, _HEIGHT * count // most) for count in counts]
    bars = [
        {"x": n * _STEP, "y": _HEIGHT - height, "height": height}
        for n, height in enumerate(heights)
    ]
    return {
        "bars": bars,
        "width": len(bars) * _STEP,
        "height": _HEIGHT,
        "step": _STEP - 2,
        "most": max(counts),
        "first": counts[0],
        "last": counts[-1],
        "points": points[::-1],
    }
