"""What a peer must show: ``authentication { auth_type PASS  auth_pass SECRET }`` of VRRP version 2.

Promise: follows keepalived exactly where it decides whether two nodes accept each other's adverts (8 bytes count;
version 3 and strict mode have no authentication), and refuses what would silently weaken it.
"""

from __future__ import annotations

from haagent.config.lexer import Token
from haagent.config.sections import Section
from haagent.config.tree import Statement
from haagent.errors import ConfigError

PASS_LENGTH = 8


def read_auth_pass(instance: Section, name: str, version: int, *, strict: bool) -> bytes | None:
    """Return the 1-8 bytes of the password, or None where adverts carry none."""
    if "authentication" not in instance:
        return None
    section = instance.section("authentication")
    kind = section.value("auth_type", _auth_type, "")
    secret = section.value("auth_pass", lambda one: _secret(one, section), b"")
    place = instance.all("authentication")[0].place
    if version == 3 or strict:
        why = "VRRP version 3" if version == 3 else "vrrp_strict"
        section.messages.warning(f"{name}: {why} has no authentication; it is left out", place)
        return None
    if kind == "PASS" and "auth_pass" not in section:
        section.messages.error(
            f"{name}: auth_type PASS without auth_pass", place, "add auth_pass, at most 8 characters"
        )
    if secret and "auth_type" not in section:
        section.messages.warning(
            f"{name}: auth_pass without auth_type: adverts carry no password", place, "add auth_type PASS"
        )
    return secret if kind == "PASS" and secret else None


def _auth_type(statement: Statement) -> str:
    token = statement.values[0]
    if token.text == "AH":
        raise ConfigError(
            "auth_type AH is not supported", token.place, "peers would not accept each other; use PASS"
        )
    if token.text != "PASS":
        semicolon = "; the line needs no semicolon" if token.text.endswith(";") else ""
        raise ConfigError(f"auth_type is {token.text!r}", token.place, f"PASS{semicolon}")
    return token.text


def _secret(statement: Statement, section: Section) -> bytes:
    token = statement.values[0]
    if not token.text:
        raise ConfigError("auth_pass is empty", token.place, "1 to 8 characters")
    _check_comment(token, section)
    secret = token.text.encode()
    if not token.text.isascii():
        section.messages.warning(
            "auth_pass has a character outside ASCII", token.place, "its UTF-8 bytes count"
        )
    if len(secret) > PASS_LENGTH:
        text = f"auth_pass has {len(secret)} characters; only the first {PASS_LENGTH} count"
        section.messages.warning(text, token.place, "keepalived cuts it too")
    return secret[:PASS_LENGTH]


def _check_comment(token: Token, section: Section) -> None:
    """Warn where a ``!`` or ``#`` cut the password: the lexer has removed the rest, only the column tells."""
    if (
        token.line.cut
        and not token.quoted
        and token.end == len(token.line.text.rstrip())
        and token.line.cut == token.end
    ):
        section.messages.warning(
            "auth_pass ends where a ! or # begins a comment",
            token.place,
            "keepalived reads it so too; quote or escape it",
        )
