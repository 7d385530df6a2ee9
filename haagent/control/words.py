"""Numbers as people read them, on a terminal and on the status page."""

from __future__ import annotations

from haagent.core.units import MILLISECOND, SECOND, Duration


def duration(span: Duration) -> str:
    """Return a time span with two significant units: ``850 us``, ``12.3 ms``, ``1.6 s``, ``3m 2s``, ``4h 12m``, ``9d 3h``."""
    if span < 0:
        return f"-{duration(-span)}"
    if span < 10 * SECOND:
        if span < MILLISECOND:
            return f"{span // 1000} us" if span else "0 s"
        return f"{span / MILLISECOND:.1f} ms" if span < SECOND // 10 else f"{span / SECOND:.1f} s"
    minutes, seconds = divmod(span // SECOND, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    for large, small, names in ((days, hours, "dh"), (hours, minutes, "hm"), (minutes, seconds, "ms")):
        if large:
            return f"{large}{names[0]} {small}{names[1]}"
    return f"{seconds} s"
