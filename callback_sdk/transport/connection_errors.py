"""Explain network failures: problem, hint, and whether a retry may help."""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING

from attrs import define, evolve

from callback_sdk.concurrency.forking import no_fork
from callback_sdk.errors import DeliveryError
from callback_sdk.redaction import SecretURL
from callback_sdk.transport.proxy_errors import ProxyUnreachableError, TunnelError
from callback_sdk.transport.response import InvalidResponseError
from callback_sdk.transport.retry import is_retryable

if TYPE_CHECKING:
    import ssl


@define(frozen=True)
class Explanation:
    """Explanation of a network failure.

    Attributes:
        problem: Predicate of a sentence about the target, such as "refuses connections".
        hint: What to do next.
        retryable: Whether a later attempt may succeed.
        transient: Whether an attempt within minutes may succeed.
    """

    problem: str
    hint: str
    retryable: bool = True
    transient: bool = True


def no_response_error(url: SecretURL, proxy: SecretURL | None, failure: BaseException) -> DeliveryError:
    """Return the error for a request that got no response.

    Args:
        url: URL of the request.
        proxy: Its proxy, or None.
        failure: Exception of the connection.
    """
    found = explain(failure)
    is_silent = isinstance(failure, InvalidResponseError) and not failure.received
    if url.scheme == "http" and (is_silent or isinstance(failure, ConnectionResetError)):
        # Some TLS servers close a plaintext connection without an alert.
        found = evolve(found, hint=f"{found.hint} If this port speaks TLS, use https://.")
    place = str(url) if proxy is None else f"{url}, through the proxy {proxy},"
    return DeliveryError(
        f"{place} {found.problem} ({type(failure).__name__}).",
        hint=found.hint,
        url=str(url),
        retryable=found.retryable,
        transient=found.retryable and found.transient,
    )


def explain(failure: BaseException) -> Explanation:
    """Return the explanation of a network failure."""
    with no_fork:
        import ssl

    if isinstance(failure, TunnelError):
        return _tunnel(failure)
    if isinstance(failure, ProxyUnreachableError):
        found = explain(failure.__cause__ or OSError())
        return evolve(found, problem=f"is unreachable: the proxy {found.problem}")
    if isinstance(failure, socket.gaierror):
        return Explanation("has a host name that can't be resolved", "Check its spelling and the network.")
    if isinstance(failure, ssl.SSLCertVerificationError):
        return _certificate(failure)
    if isinstance(failure, ssl.SSLError):
        return _tls(failure)
    if isinstance(failure, TimeoutError):
        return Explanation("did not respond in time", "It may be overloaded, or a firewall drops the connection.")
    if isinstance(failure, ConnectionRefusedError):
        return Explanation("refuses connections", "Check host and port, and whether the server runs.")
    if isinstance(failure, InvalidResponseError):
        return _explain_broken(failure)
    if isinstance(failure, OSError) and failure.errno in _LOCAL:
        return Explanation(f"was not reached: {os.strerror(failure.errno)}", _LOCAL[failure.errno])
    return Explanation("closed or reset the connection", "The network or the server failed; try again.")


_LOCAL = {
    errno.EMFILE: "Raise this process's limit of open files (ulimit -n), or close files that are no longer used.",
    errno.ENFILE: "The machine has no file descriptors left: raise fs.file-max.",
    errno.ENETUNREACH: "This machine has no route to the target's network.",
    errno.EHOSTUNREACH: "This machine has no route to the target's host.",
    errno.EADDRNOTAVAIL: "This machine has no free port left for new connections.",
    errno.ENOMEM: "This machine has no memory left.",
    errno.ENOBUFS: "This machine has no memory left for its connections.",
}
"""Hints for failures of this machine, by `errno`."""


def _tunnel(failure: TunnelError) -> Explanation:
    hint = "See the proxy's log, or add the host to NO_PROXY."
    if failure.to_address:
        hint = (
            "The proxy must permit CONNECT to the target's address and port; see its log. Hosts in --callback-no-proxy "
            "are reached directly."
        )
    if failure.needs_login:
        hint = "Put user and password into the proxy's URL: http://user:password@host:port."
    return Explanation(f"is unreachable: it answered {failure.status}", hint, retryable=is_retryable(failure.status))


def _explain_broken(failure: InvalidResponseError) -> Explanation:
    if failure.is_tls:
        return Explanation("speaks TLS at this port", "Use https:// instead of http://.", transient=False)
    if failure.received:
        return Explanation("sent a response that is not HTTP", "Check host and port.")
    return Explanation("closed the connection without a response", "See the server's log.")


# TLS: the result of a handshake doesn't change within the minutes of one write, so these failures are not transient,
# except a lost connection. Durable deliveries retry them: an operator may renew a certificate within hours.


def _certificate(failure: ssl.SSLCertVerificationError) -> Explanation:
    problem, hint = _VERIFICATION.get(failure.verify_code, (f"can't be verified: {failure.verify_message}", _TRUST))
    if hint == _TRUST and (name := os.environ.get("SSL_CERT_FILE")) and not os.access(name, os.R_OK):
        hint = f"SSL_CERT_FILE names {name}, which can't be read."
    return Explanation(f"has a certificate that {problem}", hint, transient=False)


_TRUST = "Set SSL_CERT_FILE to a bundle with the issuing CA's certificate."

_OTHER_NAME = "Use the host name that the certificate was issued for, or have one issued for this name."

_VERIFICATION = {
    9: ("can't be verified: it is not valid yet", "Check the clocks of this machine and of the server."),
    10: ("can't be verified: it has expired", "Renew the server's certificate, or set this machine's clock."),
    18: ("can't be verified: it is self-signed", _TRUST),
    19: ("can't be verified: its CA is not trusted on this machine", _TRUST),
    20: ("can't be verified: its CA is not trusted on this machine", _TRUST),
    21: ("can't be verified: the server doesn't send the intermediate certificate", _TRUST),
    23: ("can't be verified: it was revoked", "Renew the server's certificate."),
    62: ("can't be verified for this name", _OTHER_NAME),
    64: ("can't be verified for this address", _OTHER_NAME),
}
"""By OpenSSL's `X509_V_ERR_...` (openssl/x509_vfy.h)."""


def _tls(failure: ssl.SSLError) -> Explanation:
    reason = failure.reason or ""
    if reason in NO_TLS:
        return Explanation("does not speak TLS at this port", "Use the port of https, or http://.", transient=False)
    if reason in _CLIENT_CERTIFICATE:
        hint = "Pass a valid one: ResultsWriter(client_cert=(certificate, key))."
        return Explanation(_CLIENT_CERTIFICATE[reason], hint, transient=False)
    if reason in _HANDSHAKE:
        hint = (
            "Either it asks for a client certificate, ResultsWriter(client_cert=...), or it supports no TLS version "
            "and cipher that this machine's OpenSSL allows."
        )
        return Explanation(f"rejected the TLS handshake: {reason}", hint, transient=False)
    if reason == "TLSV1_UNRECOGNIZED_NAME":
        return Explanation("has no certificate for this host name", _OTHER_NAME, transient=False)
    return Explanation(
        f"closed or reset the connection: {reason or 'TLS ended early'}", "The network or the server failed; try again."
    )


NO_TLS = frozenset(
    {"WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "RECORD_LAYER_FAILURE"}
    | {"UNEXPECTED_MESSAGE", "PACKET_LENGTH_TOO_LONG", "BAD_RECORD_TYPE"}
)

_REQUIRES_CERTIFICATE = "requires a client certificate"
_REJECTS_CERTIFICATE = "rejects the client certificate"

_CLIENT_CERTIFICATE = {
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": _REQUIRES_CERTIFICATE,
    "SSLV3_ALERT_NO_CERTIFICATE": _REQUIRES_CERTIFICATE,
    "SSLV3_ALERT_BAD_CERTIFICATE": _REJECTS_CERTIFICATE,
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": f"{_REJECTS_CERTIFICATE}, which has expired",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": f"{_REJECTS_CERTIFICATE}, which was revoked",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": _REJECTS_CERTIFICATE,
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": _REJECTS_CERTIFICATE,
    "TLSV1_ALERT_ACCESS_DENIED": f"{_REJECTS_CERTIFICATE}, which is not allowed there",
    "TLSV1_ALERT_DECRYPT_ERROR": _REJECTS_CERTIFICATE,
    "TLSV1_ALERT_UNKNOWN_CA": f"{_REJECTS_CERTIFICATE}: its CA is unknown there",
}
"""Alerts about the client's certificate (RFC 8446, section 6.2), by OpenSSL's names."""

_HANDSHAKE = frozenset(
    {"SSLV3_ALERT_HANDSHAKE_FAILURE", "TLSV1_ALERT_PROTOCOL_VERSION", "TLSV1_ALERT_INSUFFICIENT_SECURITY"}
    | {"UNSUPPORTED_PROTOCOL", "VERSION_TOO_LOW", "NO_PROTOCOLS_AVAILABLE", "NO_SHARED_CIPHER", "NO_CIPHERS_AVAILABLE"}
    | {"DH_KEY_TOO_SMALL", "EE_KEY_TOO_SMALL", "CA_MD_TOO_WEAK", "BAD_ECPOINT", "WRONG_SIGNATURE_TYPE"}
    | {"UNSAFE_LEGACY_RENEGOTIATION_DISABLED", "LEGACY_SIGALG_DISALLOWED_OR_UNSUPPORTED", "WRONG_CIPHER_RETURNED"}
    | {"TLSV13_ALERT_MISSING_EXTENSION", "TLSV1_ALERT_NO_APPLICATION_PROTOCOL", "SSLV3_ALERT_ILLEGAL_PARAMETER"}
)
"""Handshakes without a common version, cipher or key. TLS 1.2 servers also send handshake_failure when a client
certificate is missing (RFC 5246, section 7.4.6)."""
