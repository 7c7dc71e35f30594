"""Targets that a person wrote: a URL or JSON, in a file, on standard input or on the command line."""

from __future__ import annotations

import json
import sys
from typing import Any

from callback_sdk.errors import CallbackParamError, InvalidTargetError
from callback_sdk.parsing import path_of
from callback_sdk.redaction import Secret, SecretURL
from callback_sdk.text.descriptions import short_repr

MAX_TARGETS_SIZE = 16 * 1024 * 1024
"""Characters of a file of targets, some thousands of them: its content is parsed as a whole."""

_OUTPUT_HINT = 'Give each output file one target: {"url": ..., "param": ..., "output": "model.bin"}.'


def read_targets(where: str, *, webhook: bool = False) -> list[Secret[Any]]:
    """Return the targets of a file, of standard input, or of the command line itself.

    Args:
        where: The argument TARGET.
        webhook: Whether each of them is a webhook.

    Raises:
        CallbackParamError: There is none.
    """
    text = _read(where)
    del where
    return targets_of(text, webhook=webhook)


def targets_of(text: Secret[str], *, webhook: bool = False) -> list[Secret[Any]]:
    """Return the targets of a text: a URL, or JSON.

    Args:
        text: The text.
        webhook: Whether each of them is a webhook.

    Raises:
        CallbackParamError: There is none, or the text is neither a URL nor JSON.
    """
    # PowerShell and Notepad write a byte order mark.
    text = Secret(text.reveal().removeprefix("\ufeff").strip())
    is_json = text.reveal().startswith(("[", "{", '"'))
    if text.reveal() and not is_json and not _is_one_url(text):
        raise CallbackParamError(
            "The targets are neither one URL nor JSON in UTF-8.",
            hint='Write the URL alone, or JSON: {"url": "https://...", "param": {}}.',
        )
    found: Secret[Any] = text
    if is_json:
        found = _parse(text)
    items = [Secret(one) for one in _to_list(found).reveal()]
    if not items:
        raise CallbackParamError(
            "There is no target in what was given.", hint='Give a URL, or JSON: {"url": "https://...", "param": {}}.'
        )
    return list(map(_as_webhook, items)) if webhook else items


def split_output(item: Secret[Any]) -> tuple[str | None, Secret[Any]]:
    """Return the name of the output file that a target is for, and the target without it; None for the document."""
    if not isinstance(item.reveal(), dict) or "output" not in item.reveal():
        return None, item
    rest = Secret({name: value for name, value in item.reveal().items() if name != "output"})
    return item.reveal()["output"], rest


def split_outputs(items: list[Secret[Any]]) -> tuple[Secret[list[Any]], Secret[dict[str, Any]]]:
    """Return the targets of the document, and those of single output files by name.

    Args:
        items: Targets from `read_targets`.

    Raises:
        CallbackParamError: A name is not a string, or is given twice.
    """
    documents: list[Any] = []
    outputs: dict[str, Any] = {}
    for name, item in map(split_output, items):
        if name is None:
            documents.append(item.reveal())
        elif not isinstance(name, str):
            raise CallbackParamError(f"output of a target is of type {type(name).__name__}.", hint=_OUTPUT_HINT)
        elif name in outputs:
            raise CallbackParamError(f"The output file {short_repr(name)} has more than one target.", hint=_OUTPUT_HINT)
        else:
            outputs[name] = item.reveal()
    return Secret(documents), Secret(outputs)


def _as_webhook(item: Secret[Any]) -> Secret[Any]:
    """Return a target of the document with `webhook` in its parameter. A webhook takes no output files."""

    if split_output(item)[0] is not None:
        return item
    pair = item if isinstance(item.reveal(), list) and len(item.reveal()) == 2 else Secret([item.reveal(), None])
    own = Secret({} if pair.reveal()[1] is None else pair.reveal()[1])
    # A parameter of another type is an error of its own.
    if not isinstance(own.reveal(), dict):
        return pair
    return Secret((pair.reveal()[0], {**own.reveal(), "webhook": own.reveal().get("webhook") or True}))


def _read(where: str) -> Secret[str]:
    """Return what was given. A file is not quoted in errors: it may have credentials."""

    if "://" in where or _is_results(where):
        return Secret(where.strip())
    is_secret = False
    try:
        text = _content(where)
    except UnicodeDecodeError:
        text = Secret("not UTF-8")
    except FileNotFoundError as error:
        if not _may_be_secret(where):
            raise CallbackParamError(
                f"{error.strerror}: {where}.", hint="Give a file with a URL or JSON, or a complete URL."
            ) from None
        text, is_secret = Secret(""), True
    except (OSError, ValueError):
        if not _may_be_secret(where):
            raise
        text, is_secret = Secret(""), True
    if is_secret:
        raise CallbackParamError(
            "The target is neither a URL with a scheme nor a file that can be read.",
            hint="Give the complete URL, such as https://example.org/done, or the path of a file.",
        )
    return text


def _content(where: str) -> Secret[str]:

    if where == "-":
        content = Secret(sys.stdin.read(MAX_TARGETS_SIZE + 1))
    else:
        with path_of("TARGET", where).open(encoding="utf-8") as file:
            content = Secret(file.read(MAX_TARGETS_SIZE + 1))
    if len(content.reveal()) > MAX_TARGETS_SIZE:
        raise CallbackParamError(
            f"The targets have more than {MAX_TARGETS_SIZE} characters.", hint="Split the file: give fewer targets."
        )
    return content


def _may_be_secret(where: str) -> bool:
    """Return whether a name that is not one of a file may be a URL without its scheme, with a credential."""

    try:
        url = SecretURL(f"https://{where.lstrip('./')}")
    except InvalidTargetError:
        return True
    return url.has_secret_path or url.has_userinfo or "?" in where or "@" in where


def _is_one_url(text: Secret[str]) -> bool:
    return ("://" in text.reveal() or _is_results(text.reveal())) and len(text.reveal().split()) == 1


def _is_results(text: str) -> bool:
    """Return whether it is `results:` or `results:NAME`; a scheme has no case (RFC 3986, section 3.1)."""
    return text[:8].lower() == "results:"


def _parse(text: Secret[str]) -> Secret[Any]:

    try:
        return Secret(json.loads(text.reveal()))
    except json.JSONDecodeError as error:
        # Its text names the problem; the document is an attribute only.
        problem = f"{error.msg}, line {error.lineno}, column {error.colno}"
    except (ValueError, RecursionError):
        problem = "it nests too deeply or has a number with too many digits"
    raise CallbackParamError(
        f"The targets are not valid JSON: {problem}.", hint='Give a URL, or JSON: {"url": "https://...", "param": {}}.'
    )


def _to_list(found: Secret[Any]) -> Secret[list[Any]]:

    value = found.reveal()
    return Secret(value if isinstance(value, list) else [value] if value else [])
