"""Redaction: wrappers that keep credentials out of logs, such as signed URLs, form fields of POST policies and tokens.

The plain value is only available through `reveal()`. It never appears in a repr, a log line, a pickle, or a traceback
that shows local variables. Texts are redacted by where they are from:

- a URL of ours: `str()` of a `SecretURL`
- a server's text, which may quote the request: `Upload.scrub`, `Response.scrub` (by `text.quoted_secrets`)
- a text of a library or of a user, and any other: `without_credentials`
- the output and the errors of an algorithm: `without_credentials(text, show_plain_queries=True)`
"""

from __future__ import annotations

import functools
import re
import string
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, NoReturn, ParamSpec, TypeVar
from urllib.parse import unquote, unquote_plus, urlsplit, urlunsplit

from callback_sdk.concurrency.forking import no_fork
from callback_sdk.errors import CallbackSDKError, InvalidTargetError
from callback_sdk.text import path_secrets
from callback_sdk.text.escaping import escape
from callback_sdk.text.limits import MAX_HOST, MAX_LABEL, MAX_PATH, MAX_URL
from callback_sdk.text.path_secrets import HIDDEN as HIDDEN
from callback_sdk.text.quoted_secrets import without_secrets

T = TypeVar("T")
P = ParamSpec("P")

_FORBIDDEN = re.compile("[\x00-\x20\x7f\ud800-\udfff]")
_WORD = re.compile(r"[^\s\"'<>`]+")
_END_OF_PATH = re.compile("[?#]")
_SEPARATOR = re.compile("[?#&;/]")

_CREDENTIAL = re.compile("sig|credential|token|secret|passw|auth|key", re.IGNORECASE)
"""Words in the names of parameters whose values are credentials."""

_NOT_ASCII = re.compile(r"[^\x00-\x7f]")

_SCHEMES = frozenset({"http", "https"})
"""Names that can't be hosts: the second scheme of a URL such as `https://https://example.org`."""

_PUBLIC = frozenset({"X-Amz-Algorithm", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders"})


_CHECK_HOST = "Check the part between '//' and the next '/'."
_MALFORMED = ("can't be read as a URL: its host or port is malformed", _CHECK_HOST)
_INVALID_HOST = ("has an invalid host name", "Check its spelling.")
_DOUBLED_SCHEME = ("has two schemes", "Leave one out: https://example.org, not https://https://example.org.")
_LONG_HOST = (f"has a host of more than {MAX_HOST} characters", _CHECK_HOST)


class Secret(Generic[T]):
    """A secret value, shown as asterisks.

    Args:
        value: The plain value.
    """

    __slots__ = ("__value",)

    def __init__(self, value: T) -> None:
        self.__value = value

    def reveal(self) -> T:
        """Return the plain value."""
        return self.__value

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self!s})"

    def __str__(self) -> str:
        return HIDDEN

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.reveal() == self.__value

    def __hash__(self) -> int:
        return hash((type(self), repr(self)))

    def __copy__(self) -> Secret[T]:
        return self

    def __deepcopy__(self, memo: object) -> Secret[T]:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(
            "This value is a credential, so it is not pickled. To hand it to another process on purpose, "
            "take the plain one by name: target.url, target.fields, or reveal()."
        )


class SecretURL(Secret[str]):
    """A URL of which only scheme, host, port and path are shown, without user, query and fragment.

    Path segments that are credentials are redacted too; see `text.path_secrets`. Of a URL without a host nothing is
    shown: it is mistyped, and a password may be anywhere.

    Args:
        value: An absolute URL.

    Attributes:
        scheme: The scheme, in lower case; empty if there is none.
        host: The host in ASCII and in lower case, as the network takes it: an internationalized name is converted
            (IDNA 2008 with UTS 46, as browsers do), so that no other spelling of a name passes a comparison.
        port: The port; None if there is none.

    Raises:
        InvalidTargetError: It is not a string, the authority is malformed, or a part of the URL is longer than servers
            accept.
    """

    __slots__ = (
        *("__added", "__lower", "__names", "__pairs", "__parts", "__public_from", "__secrets"),
        *("__shown", "__values", "host", "port", "scheme"),
    )

    def __init__(self, value: str) -> None:
        if not isinstance(value, str):
            raise InvalidTargetError(f"The URL is of type {type(value).__name__}.", hint="Give a string.")
        super().__init__(value)
        # The plain value must not be in the frame's local variables when an error is raised.
        del value
        self.scheme, self.host = "", ""
        self.port: int | None = None
        self.__parts = urlsplit("")
        self.__pairs: tuple[tuple[str, str], ...] | None = None
        self.__values: dict[str, str] | None = None
        self.__names: frozenset[str] | None = None
        self.__lower: Secret[dict[str, str]] | None = None
        self.__secrets: tuple[path_secrets.Span, ...] | None = None
        self.__public_from: int | None = None
        self.__shown: str | None = None
        self.__added = ""
        problem = _too_long(self) or self.__parse() or self.__long_part()
        if problem:
            raise InvalidTargetError(f"The callback URL {problem[0]}.", hint=problem[1])

    def __parse(self) -> tuple[str, str] | None:
        """Parse the URL; return problem and hint if it is malformed."""
        try:
            parts = urlsplit(self.reveal())
            self.port = parts.port
        except ValueError:
            return _MALFORMED
        # With an unencoded / ? # or @ in a password, a part of the password would be parsed as the host, and shown. So
        # would all of it with an encoded @.
        rest = f"{parts.path}?{parts.query}#{parts.fragment}"
        if "\\" in parts.netloc or ("@" in parts.netloc and "@" in rest) or "%40" in parts.netloc.rpartition("@")[2]:
            return _MALFORMED
        host = _ascii_host(parts.hostname or "")
        if host is None:
            return _INVALID_HOST
        # With `https://s3://bucket/key`, `s3` would be the host, with an empty port.
        if parts.scheme and (host in _SCHEMES or (parts.netloc.endswith(":") and parts.path.startswith("//"))):
            return _DOUBLED_SCHEME
        self.__parts, self.scheme, self.host = parts, parts.scheme.lower(), host
        return None

    def __long_part(self) -> tuple[str, str] | None:
        """Return problem and hint if a part of the URL is too long."""
        if len(self.host) > MAX_HOST:
            return _LONG_HOST
        if max(map(len, self.host.split("."))) > MAX_LABEL:
            return f"has a label of more than {MAX_LABEL} characters in its host", _CHECK_HOST
        if len(self.path) > MAX_PATH:
            return f"has a path of more than {MAX_PATH} characters", "Use a shorter object key."
        return None

    def __str__(self) -> str:
        if not self.host:
            return HIDDEN
        if self.__shown is None:
            path = path_secrets.without(self.__parts.path, self.__path_secrets())
            self.__shown = escape(self.origin + path + (f"?{HIDDEN}" if self.__parts.query else ""))
        return self.__shown

    def with_public_path(self, start: int = 0, *, template: SecretURL | None = None) -> SecretURL:
        """Return the same URL, whose path is the name of an object and shown.

        Args:
            start: Where the name begins in the path. What precedes it is redacted as in other URLs.
            template: A URL whose query has parameters of the same names, so that this one isn't parsed for them.
        """
        if self.__public_from == start:
            return self
        other = SecretURL.__new__(SecretURL)
        Secret.__init__(other, self.reveal())
        other.scheme, other.host, other.port = self.scheme, self.host, self.port
        other.__parts, other.__pairs = self.__parts, self.__pairs
        other.__names = self.__names if template is None else template.query_names()
        other.__values, other.__lower, other.__added = self.__values, self.__lower, self.__added
        other.__secrets, other.__shown, other.__public_from = None, None, start
        return other

    def with_parameters(self, query: str) -> SecretURL:
        """Return the same URL with further parameters that are not credentials.

        Args:
            query: The parameters, percent-encoded.
        """
        separator = "&" if self.__parts.query else "?"
        other = SecretURL(f"{self.reveal().partition('#')[0]}{separator}{query}")
        other.__public_from, other.__added = self.__public_from, f"{separator}{query}"
        return other

    def with_path(self, path: str) -> SecretURL:
        """Return the URL of another path with the same query.

        Raises:
            InvalidTargetError: The path is longer than servers accept.
        """
        return SecretURL(urlunsplit(self.__parts._replace(path=path)))

    @property
    def bare(self) -> str:
        """Scheme, host, port and unmodified path. Don't show it: the path may be secret (`has_secret_path`)."""
        return self.origin + self.__parts.path

    @property
    def has_secret_path(self) -> bool:
        """Whether the path contains a credential, as in webhook URLs of chat services."""
        return bool(self.__path_secrets())

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port is None else f":{self.port}"
        return f"{self.scheme}://{host}{port}"

    def __path_secrets(self) -> tuple[path_secrets.Span, ...]:
        if self.__secrets is None:
            self.__secrets = path_secrets.secrets_of(self.host, self.__parts.path, public_from=self.__public_from)
        return self.__secrets

    @property
    def path(self) -> str:
        """The unmodified path, without the query."""
        return self.__parts.path

    @property
    def has_userinfo(self) -> bool:
        """Whether the authority contains a user name or a password."""
        return "@" in self.__parts.netloc

    @property
    def has_forbidden_characters(self) -> bool:
        """Whether the URL contains whitespace, control characters, or lone surrogates, which no request line has."""
        return _FORBIDDEN.search(self.reveal()) is not None

    def request_target(self) -> str:
        """Return path and query for the request line. They are plain text: don't store them in a variable."""
        return (self.__parts.path or "/") + (f"?{self.__parts.query}" if self.__parts.query else "")

    def secrets(self) -> Secret[tuple[str, ...]]:
        """Return what a server's text must not quote: credentials in the path, and the query's values but public ones.

        The name of a parameter without a value may be a token, and so may a random name.
        """
        own = f"?{self.__parts.query}".removesuffix(self.__added)[1:]
        query = [pair.partition("=") for pair in own.split("&")]
        return Secret(
            (
                *(self.__parts.path[start:end] for start, end in self.__path_secrets()),
                *(value for name, _, value in query if name not in _PUBLIC),
                *(name for name, _, value in query if not value or path_secrets.is_random(name)),
            )
        )

    def scrub(self, text: str) -> str:
        """Redact the secrets of this URL in a foreign text that may quote them."""
        return without_secrets(text, self.secrets().reveal())

    def query_names(self) -> frozenset[str]:
        """Return the names of the query's parameters."""
        if self.__names is None:
            self.__names = frozenset([name for name, _ in self.__query()])
        return self.__names

    def repeated_names(self) -> frozenset[str]:
        """Return the names of the parameters that the query has more than once."""
        if len(self.query_names()) == len(self.__query()):
            return frozenset()
        count = Counter(name for name, _ in self.__query())
        return frozenset(name for name, times in count.items() if times > 1)

    def query(self, name: str) -> str | None:
        """Return a query parameter by its exact name. Don't use it for parameters that are credentials."""
        return self.__first_values().get(name)

    def lower_query(self) -> Secret[dict[str, str]]:
        """Return the query's parameters by their names in lower case. If a name is repeated, its first value counts."""
        if self.__lower is None:
            self.__lower = Secret({name.lower(): value for name, value in reversed(self.__query())})
        return self.__lower

    def secret_query(self, name: str) -> Secret[str] | None:
        """Return a query parameter that is a credential, by its exact name."""
        return Secret(self.__first_values()[name]) if name in self.__first_values() else None

    def __first_values(self) -> dict[str, str]:
        if self.__values is None:
            # If a name is repeated, its first value counts.
            self.__values = dict(reversed(self.__query()))
        return self.__values

    def __query(self) -> tuple[tuple[str, str], ...]:
        if self.__pairs is None:
            pairs = (pair.partition("=") for pair in self.__parts.query.split("&"))
            self.__pairs = tuple((_unquote(name), _unquote(value)) for name, _, value in pairs)
        return self.__pairs


def without_credentials(text: str, *, show_plain_queries: bool = False) -> str:
    """Return a foreign text whose URLs are shown as `SecretURL` shows them, mistyped ones too.

    Args:
        text: A text of a library, a server, a user or an algorithm.
        show_plain_queries: Whether to change only URLs in which a credential is recognized by its place or by the name
            of its parameter, so that the output of an algorithm stays readable. Otherwise all queries are hidden, also
            those of words without a scheme.
    """
    if show_plain_queries:
        return _WORD.sub(_redact_recognized, text) if "://" in text else text
    return _WORD.sub(_redact_word, text)


def _redact_recognized(match: re.Match[str]) -> str:
    _, mark, rest = match[0].partition("://")
    return _redact_word(match) if mark and _has_credential(Secret(rest)) else match[0]


def _has_credential(rest: Secret[str]) -> bool:
    """Return whether a credential is recognized in what follows the scheme of a URL."""
    try:
        url = SecretURL(f"x://{rest.reveal()}")
    except InvalidTargetError:
        return "@" in rest.reveal() or _CREDENTIAL.search(rest.reveal()) is not None
    # Decoded, as the value of a parameter may be a URL too.
    parts = Secret(_SEPARATOR.split(unquote("".join(_END_OF_PATH.split(rest.reveal(), maxsplit=1)[1:]))))
    return (
        url.has_userinfo
        or url.has_secret_path
        or any("@" in part or _CREDENTIAL.search(part.partition("=")[0]) for part in parts.reveal())
    )


def _redact_word(match: re.Match[str]) -> str:
    before, mark, rest = match[0].partition("://")
    other = before.rstrip(f"{string.ascii_letters}{string.digits}+-.") if mark else ""
    has_password = ":" in match[0].rpartition("@")[0]
    try:
        if mark:
            # The scheme may be missing, as it is where live output of an algorithm was cut.
            scheme = before[len(other) :]
            return other + scheme + str(SecretURL(f"{scheme or 'x'}{mark}{rest}"))[len(scheme or "x") :]
        url = SecretURL(f"https://{match[0]}")
    except InvalidTargetError:
        return other + HIDDEN if mark or has_password else match[0]
    is_url = has_password or url.has_secret_path or "=" in match[0].partition("?")[2]
    return str(url).removeprefix("https://") if is_url else match[0]


def _too_long(url: Secret[str]) -> tuple[str, str] | None:
    """Return problem and hint if a URL would take too long to parse."""
    if len(url.reveal()) > MAX_URL:
        return f"has more than {MAX_URL} characters", "Sign a shorter one: no server takes as long a request line."
    if url.reveal().isascii():
        return None
    # urlsplit() normalizes a non-ASCII authority to NFKC, and CPython sorts combining characters in quadratic time.
    try:
        parts = Secret(urlsplit(_NOT_ASCII.sub("x", url.reveal())))
    except ValueError:
        return _MALFORMED
    if len(parts.reveal().netloc) > MAX_HOST + len(":65535"):
        return _LONG_HOST
    return None


def _ascii_host(host: str) -> str | None:
    """Return a host in ASCII; None if it is not a valid name."""
    if host.isascii():
        return host
    with no_fork:
        import idna

    try:
        return idna.encode(host, uts46=True).decode()
    except idna.IDNAError:
        return None


def _unquote(text: str) -> str:
    return unquote_plus(text) if "%" in text or "+" in text else text


class SecretFields(Secret[dict[str, str]]):
    """Form fields of which only the names are shown."""

    __slots__ = ()

    def __init__(self, value: Mapping[str, str]) -> None:
        super().__init__(dict(value))

    def __str__(self) -> str:
        return "{" + ", ".join(f"{name!r}: {HIDDEN}" for name in self.reveal()) + "}"


def wrap_secret(value: Any) -> Secret[Any]:
    """Wrap a value in a `Secret`, unless it already is one."""
    return value if isinstance(value, Secret) else Secret(value)


E = TypeVar("E", bound="BaseException | None")


def strip_traceback(error: E) -> E:
    """Remove the tracebacks of an error and of its causes and contexts, and return the error.

    Local variables of the libraries' frames hold plain URLs and headers, and tracebacks may be printed with local
    variables.
    """
    for link in _chain(error):
        link.__traceback__ = None
    return error


def without_locals(error: BaseException, outer: BaseException | None = None) -> None:
    """Clear the local variables of all frames in the tracebacks of an error and of its causes and contexts.

    Files and line numbers remain, so that the traceback still shows the location. A signal handler may raise between
    any two instructions, including in frames of urllib and json, which have plain URLs in local variables.

    Args:
        error: The error; its frames have finished.
        outer: The exception that the caller was handling before the call. Its frames are not cleared.
    """
    kept = {id(link) for link in _chain(outer)}
    for link in _chain(error):
        if id(link) not in kept:
            # clear_frames() ignores frames that are still running, such as that of the public call's wrapper.
            traceback.clear_frames(link.__traceback__)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    links, seen = [error], set[int]()
    while links:
        link = links.pop()
        if link is not None and id(link) not in seen:
            seen.add(id(link))
            yield link
            links += [link.__cause__, link.__context__]


def clearing_locals(call: Callable[P, T]) -> Callable[P, T]:
    """Decorate a function so that tracebacks of errors and interrupts contain no local variables or arguments of it."""

    @functools.wraps(call)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        outer = sys.exc_info()[1]
        try:
            return call(*args, **kwargs)
        except BaseException as error:
            without_locals(error, outer)
            raise
        finally:
            del args, kwargs, outer

    return wrapper


def hides_tracebacks(call: Callable[P, T]) -> Callable[P, T]:
    """Decorate a function so that errors of this package have no traceback below the call.

    Other errors, and interrupts such as Ctrl-C, keep their frames, without local variables.
    """
    cleared = clearing_locals(call)

    @functools.wraps(call)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        failure: CallbackSDKError
        try:
            return cleared(*args, **kwargs)
        except CallbackSDKError as error:
            failure = strip_traceback(error)
        finally:
            del args, kwargs
        raise failure

    return wrapper
