"""Credentials from botocore, and errors of this package for each of its failures."""

from __future__ import annotations

import contextlib
import os
import threading
from datetime import datetime
from typing import Any

from attrs import define

from callback_sdk.concurrency.forking import after_fork
from callback_sdk.errors import SigningError
from callback_sdk.redaction import Secret, strip_traceback, without_credentials
from callback_sdk.text.descriptions import sentence

_MAX_TEXT = 500

_LOG_IN = "Log in again: `aws sso login` for a profile of IAM Identity Center, `aws login` for one of the console."
_PROFILE = "Correct role_arn, source_profile, credential_source or sso_session of the profile in ~/.aws/config."
_FILE = "Correct the files that AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE name, in ~/.aws by default."
_NETWORK = (
    "Check that the source of the credentials can be reached: STS, IAM Identity Center, the endpoint of the container "
    "or the metadata of the instance; and check HTTPS_PROXY and NO_PROXY."
)
_PROVIDER = "Run what the profile names for its credentials by hand (credential_process, a login), and correct it."
_OTHER = "Look at what boto3 finds: `aws configure list` and `aws sts get-caller-identity`."
_NONE = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or choose a profile with AWS_PROFILE."
_REGION = "Set AWS_REGION or AWS_DEFAULT_REGION, or give the profile a region."

# By name, as older versions of botocore lack some of them. The first class of an error's ancestry counts.
_HINTS = {
    "ProfileNotFound": "Check the spelling in AWS_PROFILE, or unset it; `aws configure list-profiles` shows them.",
    "NoCredentialsError": _NONE,
    "PartialCredentialsError": "Add what is missing to the profile, or set the variable; both keys belong together.",
    "CredentialRetrievalError": _PROVIDER,
    "MetadataRetrievalError": _NETWORK,
    "SSOError": _LOG_IN,
    "TokenRetrievalError": _LOG_IN,
    "NoAuthTokenError": _LOG_IN,
    "LoginError": _LOG_IN,
    "ConfigNotFound": _FILE,
    "ConfigParseError": _FILE,
    "UnicodeDecodeError": _FILE,
    "InfiniteLoopConfigError": _PROFILE,
    "InvalidConfigError": _PROFILE,
    "UnknownCredentialError": _PROFILE,
    "UnknownTokenProviderError": _PROFILE,
    "RefreshWithMFAUnsupportedError": "Sign with credentials of `aws sts get-session-token`, which asks for the code.",
    "InvalidIMDSEndpointError": "Correct AWS_EC2_METADATA_SERVICE_ENDPOINT.",
    "InvalidIMDSEndpointModeError": "Correct AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE.",
    "MissingDependencyException": "Install what it names: pip install 'botocore[crt]'.",
    "NoRegionError": _REGION,
    "InvalidRegionError": _REGION,
    "HTTPClientError": _NETWORK,
    "ConnectionError": _NETWORK,
    "ClientError": "Check that the role exists and trusts who assumes it, their credentials, and the clock.",
    "OSError": "Check the files that the profile, AWS_WEB_IDENTITY_TOKEN_FILE and other variables of AWS name.",
    "RuntimeError": _LOG_IN,
}


@define(frozen=True)
class SigningCredentials:
    """A snapshot of credentials.

    Attributes:
        access_key: The access key id, which is not secret.
        secret_key: The secret key.
        token: The session token; None for long-term credentials.
        expires_at: Expiry of the credentials, in UTC; None if they don't expire or the expiry is unknown.
    """

    access_key: str
    secret_key: Secret[str]
    token: Secret[str] | None
    expires_at: datetime | None


class CredentialSource:
    """Source of credentials: a client, or boto3's own chain.

    Args:
        client: A boto3 S3 client; None for the chain.

    Raises:
        SigningError: There are no credentials.
    """

    def __init__(self, client: Any = None) -> None:
        self._source = _of_client(client) if client is not None else _of_chain()
        if self._source is None:
            raise _no_credentials()
        after_fork(self._source, _renew_lock)
        self._latest_expiry: datetime | None = None

    def valid_until(self, until: datetime) -> SigningCredentials:
        """Return credentials that are valid until a given time, renewed if necessary; else the current ones.

        botocore renews credentials 15 minutes before they expire. A signature expires with its credentials, so
        presigning for an hour would fail in the 45 minutes before that (boto/botocore issue 2604).

        Raises:
            SigningError: They can't be retrieved.
        """
        credentials = self.current()
        end = credentials.expires_at
        if end is None or end >= until or end == self._latest_expiry or not hasattr(self._source, "_protected_refresh"):
            return credentials
        # If the renewal fails, the current credentials are still valid until they expire.
        with self._source._refresh_lock, contextlib.suppress(Exception):
            self._source._protected_refresh(is_mandatory=False)
        credentials = self.current()
        # The source has no credentials that are valid for longer: don't retry until botocore renews them.
        self._latest_expiry = credentials.expires_at
        return credentials

    def current(self) -> SigningCredentials:
        """Return the current credentials; botocore renews temporary ones in time.

        Raises:
            SigningError: They can't be retrieved.
        """
        failure: SigningError
        try:
            frozen = self._source.get_frozen_credentials()
        except Exception as error:  # noqa: BLE001 - a credential provider may raise anything
            failure = credentials_error(error, "can't be renewed")
        else:
            if not frozen.access_key or not frozen.secret_key:
                raise _no_credentials()
            return SigningCredentials(
                frozen.access_key,
                Secret(frozen.secret_key),
                Secret(frozen.token) if frozen.token else None,
                # botocore has no public attribute for the expiry.
                getattr(self._source, "_expiry_time", None),
            )
        # Raised outside the handler: the frames of the original traceback have the keys in their local variables.
        raise failure


def credentials_error(error: Exception, problem: str) -> SigningError:
    """Return the error for missing or invalid credentials.

    Args:
        error: Exception of botocore or of a credential provider.
        problem: Predicate of the sentence about the credentials.
    """
    profile = os.environ.get("AWS_PROFILE") or os.environ.get("AWS_DEFAULT_PROFILE")
    of_profile = f" of the profile {profile!r}" if profile else ""
    failure = SigningError(
        f"The AWS credentials{of_profile} {problem}: {sentence(describe(error))}", hint=hint_for(error, _OTHER)
    )
    failure.__cause__ = cause(error)
    return failure


def cause(error: Exception) -> Exception | None:
    """Return an error of botocore or of the system without its traceback, its causes and its contexts.

    None for others, which may quote keys, and for one that quotes the credentials in a URL.
    """
    if not _is_known(error) or without_credentials(f"{error!s} {error!r}") != f"{error!s} {error!r}":
        return None
    error.__cause__ = error.__context__ = None
    return strip_traceback(error)


def _is_known(error: Exception) -> bool:
    return isinstance(error, OSError) or type(error).__module__.startswith("botocore.")


def describe(error: Exception) -> str:
    """Return the text of an error of botocore or of the system, without credentials; the class name of any other."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    if not _is_known(error):
        return type(error).__name__
    text = without_credentials(str(error))
    return "".join(character if character.isprintable() else " " for character in text)[:_MAX_TEXT].strip(" :")


def hint_for(error: Exception, otherwise: str) -> str:
    """Return the hint for an error of botocore."""
    return next((_HINTS[kind.__name__] for kind in type(error).__mro__ if kind.__name__ in _HINTS), otherwise)


def check_client(client: Any) -> None:
    """Check that an object is an S3 client of boto3.

    Raises:
        SigningError: It is not.
    """
    meta = getattr(client, "meta", None)
    if hasattr(meta, "client") and not hasattr(meta, "service_model"):
        raise SigningError("The client is a resource of boto3.", hint="Give its client: client=resource.meta.client.")
    if getattr(getattr(meta, "service_model", None), "service_name", None) != "s3":
        raise SigningError(
            f"The client is of type {type(client).__name__}, and no S3 client.", hint="Give boto3.client('s3')."
        )


def _of_client(client: Any) -> Any:
    # A boto3 client has no public name for its credentials.
    return client._request_signer._credentials


def _of_chain() -> Any:
    import boto3

    try:
        return boto3.Session().get_credentials()
    except Exception as error:  # noqa: BLE001 - a credential provider may raise anything
        failure = credentials_error(error, "can't be used")
    raise failure


def _no_credentials() -> SigningError:
    profile = os.environ.get("AWS_PROFILE")
    where = f" in the profile {profile!r}" if profile else ""
    return SigningError(f"There are no AWS credentials to sign with{where}.", hint=_NONE)


def _renew_lock(source: Any) -> None:
    # If a thread of the parent holds the lock during the fork, it is never released in the child.
    if hasattr(source, "_refresh_lock"):
        source._refresh_lock = threading.Lock()
