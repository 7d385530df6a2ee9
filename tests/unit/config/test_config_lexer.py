"""Words, comments, quotes, braces and places."""

from __future__ import annotations

import pytest

from haagent.config.lexer import Line, split_command, strip_comment, tokenize
from haagent.config.messages import Messages
from haagent.config.tree import parse
from haagent.errors import ConfigError, Place

HERE = Place("f", 1, 1)


def words(text: str) -> list[str]:
    return [token.text for token in tokenize(Line(text, "f", 1))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("priority 100 # high", "priority 100"),
        ("priority 100 ! high", "priority 100"),
        ("auth_pass abc!def", "auth_pass abc"),
        (r"auth_pass abc\!def\#x", "auth_pass abc!def#x"),
        ('script "a # b ! c" # d', 'script "a # b ! c"'),
        ("'single # quotes", "'single"),
        ("! all of it", ""),
        ("   ", ""),
    ],
)
def test_comments_end_at_the_line_and_not_inside_double_quotes(text: str, expected: str) -> None:
    assert strip_comment(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b\tc", ["a", "b", "c"]),
        ('a "b c" d', ["a", "b c", "d"]),
        ('"a"b', ["a", "b"]),
        ("unicast_peer{", ["unicast_peer", "{"]),
        ("track_script { chk }", ["track_script", "{", "chk", "}"]),
        ("} }", ["}", "}"]),
        ("x ${Y:-1}z", ["x", "${Y:-1}z"]),
        ('"{" }', ["{", "}"]),
        ('""', [""]),
    ],
)
def test_words_are_split_at_blanks_braces_and_quotes(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_a_token_knows_its_place() -> None:
    tokens = tokenize(Line('  script "a b" {', "keepalived.conf", 7))
    assert [str(token.place) for token in tokens] == [f"keepalived.conf:7:{column}" for column in (3, 10, 16)]
    assert [token.quoted for token in tokens] == [False, True, False]


def test_a_substituted_line_claims_no_column() -> None:
    (token,) = tokenize(Line("  x", "f", 7, exact=False))
    assert str(token.place) == "f:7"


def test_an_open_quote_is_an_error_at_its_place() -> None:
    with pytest.raises(ConfigError, match=r"f:1:3: a double quote is never closed"):
        tokenize(Line('a "b', "f", 1))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"/bin/x a b" root', ["/bin/x a b", "root"]),
        ("/bin/x 'a b' c", ["/bin/x", "a b", "c"]),
        (r"a\ b \x41\101\t\cA", ["a b", "AA\t\x01"]),
        ("a'b'\"c\"", ["abc"]),
        ("'' x", ["", "x"]),
        ("   ", []),
    ],
)
def test_commands_have_shell_quotes_and_no_shell(text: str, expected: list[str]) -> None:
    assert split_command(text, HERE) == expected


@pytest.mark.parametrize("text", ["'a", '"a', "a\\"])
def test_a_command_with_an_open_end_is_an_error(text: str) -> None:
    with pytest.raises(ConfigError):
        split_command(text, HERE)


def tree(text: str) -> tuple[list[object], Messages]:
    messages = Messages()
    lines = [Line(line, "f", number) for number, line in enumerate(text.split("\n"), 1)]

    def plain(statements: list) -> list[object]:
        return [
            [[w.text for w in s.words], *([] if s.block is None else [plain(s.block)])] for s in statements
        ]

    return plain(parse(lines, messages)), messages


@pytest.mark.parametrize("text", ["a b {\nc 1\nd {\n}\n}", "a b\n{\nc 1\nd\n{ } }", "a b{\nc 1\nd{}}"])
def test_braces_may_stand_anywhere(text: str) -> None:
    found, messages = tree(text)
    assert found == [[["a", "b"], [[["c", "1"]], [["d"], []]]]]
    assert not messages.errors


def test_an_unknown_block_ends_at_its_own_brace() -> None:
    found, _ = tree("vi {\nauth_hmac {\nkey 1\n}\npriority 5\n}\nnext")
    assert found[0][1][1] == [["priority", "5"]]
    assert found[1] == [["next"]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a {", "f:1:3: this block is never closed"),
        ("a\n}", "f:2:1: } closes nothing"),
        ("{\n}", "f:1:1: a block without a name"),
    ],
)
def test_braces_that_do_not_match_are_errors(text: str, message: str) -> None:
    _, messages = tree(text)
    assert message in str(messages.errors[0])
