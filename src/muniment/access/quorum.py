"""Whether approvals meet a requirement: several groups at once, each person counted once."""

from collections.abc import Mapping, Sequence


def filled(required: Mapping[str, int], eligible: Sequence[tuple[str, ...]]) -> dict[str, int]:
    """
    How many of each group's approvals are met, with every approver counted for one group only.

    `eligible` holds, for each approver, the groups that he may count for. The assignment is the
    best one (a maximum matching): who could stand for two groups stands where he is needed.
    """
    slots = [group for group, count in sorted(required.items()) for _ in range(count)]
    holder: dict[int, int] = {}
    for approver in range(len(eligible)):
        _assign(approver, slots, eligible, holder, set())
    met = dict.fromkeys(required, 0)
    for slot in holder:
        met[slots[slot]] += 1
    return met


def missing(required: Mapping[str, int], eligible: Sequence[tuple[str, ...]]) -> dict[str, int]:
    """What is still to come, by group; empty when the requirement is met."""
    met = filled(required, eligible)
    return {group: count - met[group] for group, count in required.items() if count > met[group]}


def stricter(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    """The requirement that demands whatever either of two demands."""
    return {
        group: max(one.get(group, 0), other.get(group, 0))
        for group in sorted(one.keys() | other.keys())
    }


def _assign(
    approver: int,
    slots: Sequence[str],
    eligible: Sequence[tuple[str, ...]],
    holder: dict[int, int],
    tried: set[int],
) -> bool:
    """Kuhn's augmenting path: find a slot for this approver, moving others where that helps."""
    for slot, group in enumerate(slots):
        if group not in eligible[approver] or slot in tried:
            continue
        tried.add(slot)
        if slot not in holder or _assign(holder[slot], slots, eligible, holder, tried):
            holder[slot] = approver
            return True
    return False
