"""``~SEQ(var, start, step, end)``, ``~SEQx(...)`` and ``~LST(var, a, b, ...)``: what the variable becomes, round by round.

May not know lines or definitions. Errors are ValueErrors with a text for the operator.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_HEAD = re.compile(r"~(SEQx?|LST)\s*\((.*)\)", re.DOTALL)
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_ITEM = re.compile(r"\s*(?:\{([^{}]*)\}|([^,{}]*))\s*(,|$)")


def parse(head: str) -> tuple[tuple[str, ...], Iterator[tuple[str, ...]]]:
    """Return the variables of ``~XXX(...)`` and, lazily, their values for every round. Raises ValueError."""
    match = _HEAD.fullmatch(head.strip())
    if match is None:
        raise ValueError(
            f"{head.strip()!r} is not a sequence: ~SEQ(VAR, START, STEP, END) or ~LST(VAR, A, B, ...)"
        )
    kind, arguments = match.groups()
    items = list(_items(arguments))
    names = items[0]
    if not all(_NAME.fullmatch(name) for name in names) or len(items) < 2:
        raise ValueError(f"~{kind} needs a name and at least one value: {arguments!r}")
    if kind == "LST":
        if any(len(item) != len(names) for item in items):
            raise ValueError(f"~LST: every value of {arguments!r} needs as many parts as there are names")
        return names, iter(items[1:])
    return names, _numbers([item[0] for item in items[1:]], hexadecimal=kind == "SEQx")


def _items(arguments: str) -> Iterator[tuple[str, ...]]:
    position = 0
    while True:
        match = _ITEM.match(arguments, position)
        if match is None:
            raise ValueError(f"a sequence's values are separated by commas: {arguments!r}")
        group = match.group(1)
        yield tuple(part.strip() for part in (group.split(",") if group is not None else [match.group(2)]))
        position = match.end()
        if not match.group(3):
            return


def _numbers(texts: list[str], *, hexadecimal: bool) -> Iterator[tuple[str, ...]]:
    try:
        numbers = [int(text, 0) for text in texts]
    except ValueError:
        raise ValueError(f"~SEQ counts with whole numbers, not {', '.join(texts)}") from None
    if len(numbers) > 3:
        raise ValueError("~SEQ takes a name and END, or START and END, or START, STEP and END")
    end = numbers[-1]
    start = numbers[0] if len(numbers) > 1 else (1 if end > 0 else -1)
    step = numbers[1] if len(numbers) == 3 else (1 if end >= start else -1)
    if step == 0:
        raise ValueError("~SEQ with step 0 never ends")
    if (end - start) * step < 0:
        raise ValueError(f"~SEQ never comes from {start} to {end} in steps of {step}")
    return (
        (f"{number:x}" if hexadecimal else str(number),)
        for number in range(start, end + (1 if step > 0 else -1), step)
    )
