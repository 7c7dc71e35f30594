"""Descriptions of foreign values never fail, and are short."""

from __future__ import annotations

from typing import NoReturn

import numpy as np
import pytest

from callback_sdk.text.descriptions import sentence, short_repr, type_name


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no rows", "no rows."),
        ("no rows.", "no rows."),
        ("really?", "really?"),
        ("no file '../data'", "no file '../data'."),
        ("cannot open ../data/..", "cannot open ../data/.."),
        ("cannot list ..", "cannot list .."),
        ("0..9 only", "0..9 only."),
        ("and so on...", "and so on..."),
        ("", "."),
    ],
)
def test_a_foreign_text_is_kept_word_by_word(text: str, said: str) -> None:
    """It gets the full stop that it lacks, and loses nothing: two dots may be a path."""
    assert sentence(text) == said


class _Hostile:
    def __repr__(self) -> NoReturn:
        raise SystemError("no repr")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a\nb", "'a\\nb'"),
        ("x" * 1000, "'" + "x" * 99),
        (10**5000, "a value of type int"),
        (_Hostile(), f"a value of type {__name__}._Hostile"),
    ],
    ids=["text", "long text", "large integer", "hostile class"],
)
def test_any_value_is_shown(value: object, text: str) -> None:
    """In at most 100 characters; a value whose repr fails, by its type."""
    assert short_repr(value) == text


def test_a_type_is_named_with_its_module() -> None:
    """Unless it is one of Python's own."""
    assert (type_name(True), type_name(np.True_)) == ("bool", f"numpy.{type(np.True_).__name__}")
