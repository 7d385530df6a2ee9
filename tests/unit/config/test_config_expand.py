"""Includes, conditional lines, definitions, sequences; and that all of it ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from haagent.config.expand import Expander
from haagent.config.messages import Messages
from haagent.errors import ConfigError


@pytest.fixture
def expand(tmp_path: Path):
    def run(text: str, config_id: str = "here", **environ: str) -> list[str]:
        path = tmp_path / "c.conf"
        path.write_text(text)
        run.messages = Messages()
        expander = Expander(config_id, environ, run.messages)
        return [" ".join(line.text.split()) for line in expander.read(path)]

    return run


def test_conditional_lines(expand) -> None:
    text = "@here a\n@there b\n@^here c\n@!there d\n  @here  e {\n@here\n@!here f ! comment"
    assert expand(text) == ["a", "d", "e {"]


def test_crlf_bom_and_comments(expand, tmp_path: Path) -> None:
    assert expand("\ufeffa # \u00e4\r\n\r\n! x\r\nb\r\n") == ["a", "b"]


def test_bytes_outside_utf8_are_allowed_in_comments_only(expand, tmp_path: Path) -> None:
    path = tmp_path / "latin.conf"
    path.write_bytes(b"a # \xe4\nb \xe4\n")
    messages = Messages()
    assert [line.text for line in Expander("x", {}, messages).read(path)] == ["a"]
    assert "latin.conf:2:1: the line is not UTF-8 text" in str(messages.errors[0])


def test_definitions_are_replaced_when_used_and_recursively(expand) -> None:
    text = (
        "$BASE=10.2.${SUB}\n$SUB=0\n${BASE}.100/32\n$SUB=10\n${BASE}.100/32\nx $SUB\nx $SUBS $UNKNOWN ${NOT}"
    )
    assert expand(text) == ["10.2.0.100/32", "10.2.10.100/32", "x 10", "x $SUBS $UNKNOWN ${NOT}"]


def test_a_definition_of_several_lines_nests_and_keeps_its_conditions(expand) -> None:
    text = "$VI= \\\nvi ${NUM} { \\\n@here priority 1 \\\n@there priority 2 \\\n$SUB \\\n}\n$SUB=\\\nsub ${NUM}\\\nend\n$NUM=1\n$VI\n$NUM=2\n$VI"
    one = ["vi 1 {", "priority 1", "sub 1", "end", "}"]
    assert expand(text) == one + [
        line.replace("1", "2", 1) if "priority" not in line else line for line in one
    ]


@pytest.mark.parametrize(
    "text",
    [
        "$A=\\\n x \\\n# c\n y\n$A",
        "$A=\\\n x # c \\\n y\n$A",
        "$A=\\\n x \\\n# c \\\n   \n y\n$A",
        "$A=x # c \\\n y\n$A",
    ],
)
def test_comments_do_not_end_a_definition(expand, text: str) -> None:
    assert expand(text) == ["x", "y"]


def test_names_of_a_sequence_keep_their_last_values(expand) -> None:
    assert expand("$I=9\n~SEQ(I,2) a$I\n~LST(J,p,q) b$J\nx$I y$J") == ["a1", "a2", "bp", "bq", "x2 yq"]


def test_a_definition_may_bring_a_comment(expand) -> None:
    assert expand("$OFF=${_HASH}\nx $OFF y\n$OFF z") == ["x"]
    assert expand('auth_pass ab${_BANG}cd "ef${_HASH}gh"\nauth_pass "ab${_BANG}cd"') == [
        "auth_pass ab",
        'auth_pass "ab!cd"',
    ]
    assert expand("$T=\n$T a # b\n$T # c") == ["a"]


def test_conditional_definition(expand) -> None:
    assert expand("@here $P=1\n@there $P=2\npriority $P") == ["priority 1"]


def test_builtin_definitions(expand, tmp_path: Path) -> None:
    assert expand('a ${_PWD}/x ${_INSTANCE} ${_ENV HOME} "${_BANG}" ${_ENV NONE}', HOME="/h") == [
        f'a {tmp_path}/x here /h "!" ${{_ENV NONE}}'
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("~SEQ(A, 0, 3) ${A}", ["0", "1", "2", "3"]),
        ("~SEQ(A, 2) ${A}", ["1", "2"]),
        ("~SEQ(A, -2) ${A}", ["-1", "-2"]),
        ("~SEQx(A, 0x90, 0x10, 0xb0) f:${A}", ["f:90", "f:a0", "f:b0"]),
        ("~SEQ(A, 5, -2, 1) ${A}", ["5", "3", "1"]),
        ("~LST(A, 1, x) ~LST(B, 5,6) ${A}.${B}", ["1.5", "1.6", "x.5", "x.6"]),
        ("~LST({A, B}, {1,2},{3,4}) ~SEQ(C,1,2) ${A}${B}${C}", ["121", "122", "341", "342"]),
        ("$N=2\n~SEQ(A, 1, ${N}) ${A}", ["1", "2"]),
    ],
)
def test_sequences_and_lists(expand, text: str, expected: list[str]) -> None:
    assert expand(text) == expected
    assert not expand.messages.errors


@pytest.mark.parametrize(
    "text", ["~SEQ(A, 1, 0, 5) x", "~SEQ(1) x", "~SEQ(A, b) x", "~LST(A) x", "~LST({A,B},{1}) x", "~SEQ x"]
)
def test_a_bad_sequence_is_an_error(expand, text: str) -> None:
    assert expand(text) == []
    assert len(expand.messages.errors) == 1


@pytest.mark.parametrize(
    "text",
    [
        "$A=$A\n$A",
        "$A=x $B\n$B=y $A\nz $A",
        "$A=aaaaaaaaaa ${A} ${A}\n$A",
        "~SEQ(A,1,1000000000000) x",
        "~SEQ(A,1,1000000000000) $B=${A}",
        "$A=\\\n$B\\\n$B\n$B=\\\n$A\\\n$A\n$A",
        "include c.conf",
    ],
)
def test_nothing_expands_without_bound(expand, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("haagent.config.expand.LINE_LIMIT", 2000)
    with pytest.raises(ConfigError):
        expand(text)


def test_includes_with_globs_braces_and_places(expand, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.conf").write_text("a\ninclude more/*.conf\n")
    (tmp_path / "d" / "b.conf").write_text("b ${_PWD}\n")
    (tmp_path / "d" / "c.conf").write_text("never\n")
    (tmp_path / "d" / "more").mkdir()
    (tmp_path / "d" / "more" / "x.conf").write_text("x")
    assert expand("include d/{a,b}.conf\nend") == ["a", "x", f"b {tmp_path}/d", "end"]
    assert not expand.messages.warnings


def test_executable_files_and_directories_are_not_included(expand, tmp_path: Path) -> None:
    (tmp_path / "run.conf").write_text("x")
    (tmp_path / "run.conf").chmod(0o755)
    (tmp_path / "dir.conf").mkdir()
    assert expand("include [rd]*.conf") == []
    assert ["run.conf: it is executable" in text for text in expand.messages.warnings].count(True) == 1
    assert any("dir.conf: not a regular file" in text for text in expand.messages.warnings)


def test_a_missing_include_is_a_warning_and_with_a_check_an_error(expand) -> None:
    expand(
        "include none*.conf\nincludea {none,neither}.conf\nincluder none*.conf\nincludem n*.conf\nincludew n*.conf"
    )
    assert "no file matches none*.conf" in expand.messages.warnings[0]
    assert [error.message for error in expand.messages.errors] == [
        "includea: no file matches none.conf, neither.conf",
        "includew: no file matches n*.conf",
    ]


@pytest.mark.parametrize(
    ("check", "faults"),
    [
        ("", ["n*", "none", "no", "run.conf"]),
        ("wildcard_match", ["n*", "run.conf"]),
        ("match -read +brace_match", ["none", "no"]),
        ("+brace_match", ["no"]),
        ("-match", []),
    ],
)
def test_include_check_is_for_every_include_after_it(
    expand, tmp_path: Path, check: str, faults: list[str]
) -> None:
    (tmp_path / "yes").write_text("x\n")
    (tmp_path / "run.conf").write_text("x\n")
    (tmp_path / "run.conf").chmod(0o755)
    includes = "include n*\ninclude none\ninclude {yes,no}\ninclude run.conf"
    assert expand(f"{includes}\ninclude_check {check}\n{includes}") == [
        "x",
        f"include_check {check}".strip(),
        "x",
    ]
    said = [error.message for error in expand.messages.errors]
    assert len(said) == len(faults)
    assert all(fault in message for fault, message in zip(faults, said, strict=True))


def test_an_include_check_that_is_none_is_an_error(expand) -> None:
    expand("include_check readable\ninclude_check read match")
    assert ["'readable'" in str(expand.messages.errors[0]), "'match'" in str(expand.messages.errors[1])] == [
        True
    ] * 2


def test_random_is_refused(expand) -> None:
    with pytest.raises(ConfigError, match="another configuration"):
        expand("priority ${_RANDOM 1 100}")
