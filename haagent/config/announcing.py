"""How fast announcements may follow each other: vrrp_garp_interval, vrrp_gna_interval, garp_group blocks."""

from __future__ import annotations

from collections.abc import Iterator

from haagent.config.model import AnnouncePace
from haagent.config.sections import Section
from haagent.config.values import interface
from haagent.errors import ConfigError

_LONGEST = 4294


def read_paces(top: Section, defaults: Section) -> tuple[AnnouncePace, ...]:
    """Return the groups' paces, and last that of every other interface; the first that fits an interface counts.

    ``defaults`` is global_defs.
    """
    everywhere = AnnouncePace(
        (),
        defaults.seconds("vrrp_garp_interval", 0, _LONGEST, 0),
        defaults.seconds("vrrp_gna_interval", 0, _LONGEST, 0),
    )
    groups = tuple(_groups(top))
    return (*groups, everywhere) if everywhere.garp or everywhere.gna else groups


def _groups(top: Section) -> Iterator[AnnouncePace]:
    taken: set[str] = set()
    for statement in top.all("garp_group"):
        section = Section("garp_group", statement.block or [], top.messages)
        if "garp_interval" not in section and "gna_interval" not in section:
            top.messages.warning("garp_group has no interval: it has no effect", statement.place)
            continue
        names = tuple(dict.fromkeys(_interfaces(section, taken)))
        if not names:
            top.messages.warning("garp_group names no interface: it has no effect", statement.place)
            continue
        taken.update(names)
        garp, gna = (section.seconds(word, 0, _LONGEST, 0) for word in ("garp_interval", "gna_interval"))
        yield AnnouncePace(names, garp, gna)


def _interfaces(section: Section, taken: set[str]) -> Iterator[str]:
    """Yield the interfaces of a group; one that another group has is left out, as in keepalived."""
    words = [statement.values[0] for statement in section.all("interface") if statement.values]
    for word in [*words, *section.words("interfaces")]:
        try:
            name = interface(word, "garp_group")
        except ConfigError as error:
            section.messages.add(error)
            continue
        if name in taken:
            section.messages.warning(f"{name} is in another garp_group already", word.place)
            continue
        yield name
