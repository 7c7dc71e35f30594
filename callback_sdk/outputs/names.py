"""Names of output files: relative paths that every file system, URL and object store reads in the same way."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from callback_sdk.errors import OutputError
from callback_sdk.redaction import Secret
from callback_sdk.text.descriptions import short_repr
from callback_sdk.text.escaping import escape

MAX_NAME = 512
"""Maximum bytes of a name in UTF-8: half of an S3 key, whose other half is for the prefix."""

MAX_SEGMENT = 255
"""Maximum bytes of a segment: NAME_MAX of Linux file systems."""

_FORBIDDEN = re.compile(r'[<>:"|?*\\]')
"""Characters that Windows doesn't allow ("Naming Files, Paths, and Namespaces"), drive letters included."""

_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
"""An escape of URLs. Servers that decode a path twice (CWE-174) would read another name."""

_DEVICE = re.compile(
    r"(?:CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(?:COM|LPT)[0-9\u00b9\u00b2\u00b3]) *(?:\..*)?", re.IGNORECASE
)
"""Names of devices on Windows, with any extension."""

_STRAY_JOINER = re.compile(r"[\u200c\u200d](?![^\x00-\x7f\u200c\u200d])")
"""A joiner that joins nothing. Emoji, Persian and Indic scripts need the two joiners before another character."""

_PLACEHOLDER = "${filename}"
"""What S3 replaces in the fields of a form."""

_HINT = "Give a relative path such as 'plots/fit.png', with / between its segments."


def checked_name(name: Any) -> str:
    """Return a name in Unicode's normalization form C, in which one spelling is one name.

    Raises:
        OutputError: It is not a relative path, or a file system or a URL could read it as another one.
    """
    if not isinstance(name, str):
        raise OutputError(f"The name of an output file is of type {type(name).__name__}.", hint=_HINT)
    # Before anything else looks at the name, which may be of any length. A character has at least one byte.
    normal = name if len(name) > MAX_NAME else unicodedata.normalize("NFC", name)
    if problem := _problem(normal):
        raise OutputError(f"The name of an output file {problem}: {short_repr(name)}.", hint=_HINT, name=name)
    return normal


def named_targets(outputs: Secret[Any]) -> dict[str, Secret[Any]]:
    """Return the targets of single output files as given, by the names of the files.

    Args:
        outputs: A target for each name, or None.

    Raises:
        OutputError: It is not a dict, or a name is not allowed.
    """
    if outputs.reveal() is None:
        return {}
    if not isinstance(outputs.reveal(), Mapping):
        raise OutputError(
            f"outputs is of type {type(outputs.reveal()).__name__}.",
            hint="Give a dict from the names of the files to their targets: outputs={'model.bin': put}.",
        )
    return {checked_name(name): Secret(target) for name, target in outputs.reveal().items()}


def check_distinct(names: Iterable[str]) -> None:
    """Check that files of these names can be in one directory of any file system.

    Args:
        names: Names from `checked_name`.

    Raises:
        OutputError: Two names are equal, or equal without regard to letter case, or one is a directory of another.
    """
    files: dict[str, str] = {}
    for name in names:
        folded = fold(name)
        if folded in files:
            raise OutputError(
                f"Two output files have the same name {short_repr(name)}."
                if files[folded] == name
                else f"The output files {short_repr(files[folded])} and {short_repr(name)} have the same name on file "
                "systems without upper and lower case.",
                hint="Give each file a name of its own.",
                name=name,
            )
        files[folded] = name
    for folded, name in files.items():
        for parent in _parents(folded):
            if parent in files:
                raise OutputError(
                    f"The output file {short_repr(files[parent])} has the name of a directory of {short_repr(name)}.",
                    hint="Rename one of them.",
                    name=name,
                )


def fold(name: str) -> str:
    """Return the key by which names are compared: canonical caseless matching (The Unicode Standard, D145)."""
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())


def _parents(name: str) -> Iterator[str]:
    for place, character in enumerate(name):
        if character == "/":
            yield name[:place]


def _problem(name: str) -> str | None:
    """Return why a name is not allowed, as it completes a sentence; None if it is."""
    if not name:
        return "is empty"
    if len(name) > MAX_NAME or _size(name) > MAX_NAME:
        return f"has more than {MAX_NAME} bytes"
    if escape(name) != name or _STRAY_JOINER.search(name) or any(map(_is_invisible, name)):
        return "has a control character, a lone surrogate or an invisible character"
    if found := _FORBIDDEN.search(name):
        return f"has the character {found[0]}, which file systems or URLs read differently"
    if _ESCAPE.search(name) or _PLACEHOLDER in name:
        return "has a percent escape or the placeholder ${filename}, which a server would replace"
    if name.startswith("/"):
        return "is an absolute path"
    return next(filter(None, map(_segment_problem, name.split("/"))), None)


def _segment_problem(segment: str) -> str | None:
    if not segment:
        return "has an empty segment: two slashes in a row, or one at its end"
    if segment in (".", ".."):
        return "has a segment . or .., which leads to another directory"
    if segment != segment.strip() or segment.endswith("."):
        return "has a segment that begins or ends with a space or ends with a dot, which Windows removes"
    if _DEVICE.fullmatch(segment):
        return "has a segment that is the name of a device on Windows"
    return f"has a segment of more than {MAX_SEGMENT} bytes" if _size(segment) > MAX_SEGMENT else None


def _is_invisible(character: str) -> bool:
    return unicodedata.category(character) == "Cf" and character not in "\u200c\u200d"


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
