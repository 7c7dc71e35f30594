"""Names of output files."""

from __future__ import annotations

import unicodedata
from pathlib import PurePosixPath, PureWindowsPath
from urllib.parse import quote, unquote, urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callback_sdk.errors import OutputError
from callback_sdk.outputs.names import MAX_NAME, MAX_SEGMENT, check_distinct, checked_name
from tests.growth import assert_linear


@pytest.mark.parametrize(
    "name",
    [
        "model.bin",
        "plots/fit.png",
        ".hidden",
        "a/.gitkeep",
        "with space.txt",
        "50%.csv",
        "a#b.txt",
        "naïve/Größe.csv",
        "日本語.txt",
        "emoji-👩‍🔬.png",
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645.txt",
        "__proto__",
        "constructor/toString",
        "-rf",
        "console.log",
        "com10",
        "aux-1.txt",
        "a;b&c=d+e,f@g!h'i(j)",
        "..a",
        "a..b",
        "~user",
        "x" * MAX_SEGMENT,
    ],
)
def test_common_names_are_kept(name: str) -> None:
    """A name that every system reads in the same way is kept."""
    assert checked_name(name) == name


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "is empty"),
        ("/etc/passwd", "absolute"),
        ("//server/share", "absolute"),
        ("../x", "segment . or .."),
        ("a/../../x", "segment . or .."),
        ("a/..", "segment . or .."),
        ("./x", "segment . or .."),
        ("a//b", "empty segment"),
        ("a/", "empty segment"),
        ("C:/x", "the character :"),
        ("x:stream", "the character :"),
        ("a\\b", "the character \\"),
        ("..\\x", "the character \\"),
        ("a?b", "the character ?"),
        ("a*b", "the character *"),
        ('a"b', 'the character "'),
        ("a<b", "the character <"),
        ("a|b", "the character |"),
        ("a\0b", "control character"),
        ("a\nb", "control character"),
        ("a\r\nX-Evil: 1", "control character"),
        ("a\x7f", "control character"),
        ("a\x85b", "control character"),
        ("a\u2028b", "control character"),
        ("\u202egnp.exe", "invisible character"),
        ("a\ufeffb", "invisible character"),
        ("a\u200bb", "invisible character"),
        ("a\u00adb", "invisible character"),
        ("a\u2060b", "invisible character"),
        ("a\u180eb", "invisible character"),
        ("a\u200db", "invisible character"),
        ("model\u200c.bin", "invisible character"),
        ("\u0645\u200c\u200c\u0645", "invisible character"),
        ("\u0645\u200d", "invisible character"),
        ("\ud800", "lone surrogate"),
        (" a", "begins or ends with a space"),
        ("a /b", "begins or ends with a space"),
        ("a/b ", "begins or ends with a space"),
        ("a\u00a0", "begins or ends with a space"),
        ("a.", "ends with a dot"),
        ("a./b", "ends with a dot"),
        ("...", "ends with a dot"),
        ("NUL", "device"),
        ("con.txt", "device"),
        ("a/Aux.tar.gz", "device"),
        ("com1", "device"),
        ("LPT².x", "device"),
        ("nul .txt", "device"),
        ("conin$", "device"),
        ("%2e%2e/x", "percent escape"),
        ("a%2Fb", "percent escape"),
        ("a%00b", "percent escape"),
        ("a-${filename}", "placeholder"),
        ("x" * (MAX_SEGMENT + 1), f"more than {MAX_SEGMENT} bytes"),
        ("ü" * 200, f"more than {MAX_SEGMENT} bytes"),
        ("a/" * 300 + "b", f"more than {MAX_NAME} bytes"),
        ("ü/" * 200 + "b", f"more than {MAX_NAME} bytes"),
        ("\u037e\u2fff" * 1000, f"more than {MAX_NAME} bytes"),
    ],
)
def test_ambiguous_names_are_rejected(name: str, problem: str) -> None:
    """A name that a file system, a URL or a store reads differently is rejected, and the error says why."""
    with pytest.raises(OutputError) as caught:
        checked_name(name)
    assert problem in caught.value.message
    assert "relative path" in caught.value.hint
    assert caught.value.name == name
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", [None, 1, b"a", ("a",)])
def test_names_are_strings(name: object) -> None:
    """A name of another type than string is rejected."""
    with pytest.raises(OutputError, match="is of type"):
        checked_name(name)


def test_one_spelling_is_one_name() -> None:
    """A decomposed name, as macOS gives it, is composed."""
    assert checked_name(unicodedata.normalize("NFD", "Größe.csv")) == "Größe.csv"


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["a", "a"], "the same name 'a'"),
        (["Model.bin", "model.BIN"], "without upper and lower case"),
        (["straße", "STRASSE"], "without upper and lower case"),
        (["Plots/a", "plots/A"], "without upper and lower case"),
        (["a", "a/b"], "name of a directory"),
        (["a/b/c", "A/B"], "name of a directory"),
        (["\u212a", "k"], "without upper and lower case"),
    ],
)
def test_colliding_names_are_rejected(names: list[str], problem: str) -> None:
    """Names that one directory can't have at the same time on every file system are rejected."""
    with pytest.raises(OutputError, match=problem):
        check_distinct(names)


def test_other_names_do_not_collide() -> None:
    """Names with a common beginning don't collide."""
    check_distinct(["a", "ab", "a.b", "b/a", "b/ab", "__proto__", "constructor"])


@given(st.text(max_size=40) | st.text("./\\ :%a2fA\u0301\u00e9\0", max_size=12))
def test_accepted_names_stay_below_their_folder(name: str) -> None:
    """Every accepted name leads below its folder on POSIX, on Windows and in a URL, and is the same after a round trip.

    Whatever is rejected raises the typed error.
    """
    try:
        accepted = checked_name(name)
    except OutputError:
        return
    assert checked_name(accepted) == accepted
    posix, windows = PurePosixPath(accepted), PureWindowsPath(accepted)
    assert not posix.is_absolute()
    assert not windows.drive
    assert not windows.root
    assert posix.parts == windows.parts == tuple(accepted.split("/"))
    assert ".." not in posix.parts
    url = f"https://store.example/bucket/runs/42/{quote(accepted)}"
    parts = urlsplit(urljoin(url, url))
    assert unquote(parts.path) == f"/bucket/runs/42/{accepted}"
    assert unquote(unquote(parts.path)) == unquote(parts.path)
    assert not parts.query
    assert not parts.fragment


def test_time_grows_linearly() -> None:
    """The comparison of names takes time linear in their number."""
    names = [f"{'d/' * 20}{number}" for number in range(8000)]
    assert_linear(check_distinct, names[:500], names, ratio=16)
