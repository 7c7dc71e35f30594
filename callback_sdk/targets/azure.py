"""Azure Blob URLs with a shared access signature (SAS).

Source: "Create a service SAS", "Put Blob" and "Put Block" in Azure's REST reference.
"""

from __future__ import annotations

import re
from datetime import datetime
from urllib.parse import quote

from attrs import define, evolve

from callback_sdk.concurrency.forking import no_fork
from callback_sdk.documents.body import Body
from callback_sdk.errors import CallbackParamError, InvalidTargetError, ResultTooLargeError
from callback_sdk.redaction import SecretFields, SecretURL
from callback_sdk.targets.callbacks import Callback
from callback_sdk.targets.expiry import iso_time, parse_expiry
from callback_sdk.targets.headers import given_headers
from callback_sdk.targets.identifiers import DATE, HMAC_SHA256, ISO_TIME, UUID, Identifiers
from callback_sdk.targets.members import AZURE_PREFIX
from callback_sdk.targets.operations import AZURE, check_operation, has_bare_host, wrong_operation
from callback_sdk.targets.signatures import ANY, BASE64_SHA256, Form, QueryParameters, check_forms
from callback_sdk.targets.target import Target, TargetSettings

_CREATE_ONLY = (
    "The signature permits to create blobs and not to replace them. If the response to an upload is lost, its retry "
    "fails. Generate one with the permission to write, too."
)

_DEPTH = Form(re.compile("[0-9]{1,3}"), "the depth of a directory")

_DELEGATION = ("skoid", "sktid", "skt", "ske", "sks", "skv")
"""Parameters of a user delegation SAS ("Create a user delegation SAS"), which expires with its key at the latest."""

_PARAMETERS = frozenset(
    {"sv", "ss", "srt", "sr", "sp", "st", "se", "spr", "sip", "si", "sdd", "ses", "sig", *_DELEGATION}
)
"""Parameters of a shared access signature."""

_DOMAINS = (".core.windows.net", ".core.usgovcloudapi.net", ".core.chinacloudapi.cn", ".storage.azure.net")
_SERVICES = frozenset({"dfs", "file", "queue", "table", "web"})
"""Labels after the account's name, or after its DNS zone ("Storage account overview" in Azure's documentation)."""


SINGLE_BLOB = 64 * 1024**2
"""Maximum bytes of a document that is sent in one request, as in Azure's SDK for Python."""

MAX_BLOCKS = 50_000
"""Maximum number of blocks of a blob."""


@define(frozen=True)
class BlobLimits:
    """Limits of a version of the service, in bytes.

    Attributes:
        blob: Maximum size of a blob that is sent in one request.
        block: Maximum size of a block.
    """

    blob: int
    block: int


_LIMITS = (
    ("2019-12-12", BlobLimits(5000 * 1024**2, 4000 * 1024**2)),
    ("2016-05-31", BlobLimits(256 * 1024**2, 100 * 1024**2)),
    ("", BlobLimits(64 * 1024**2, 4 * 1024**2)),
)
"""Limits by the first version that has them. The service uses the version of the signature (sv) for a request without
one ("Versioning for the Azure Storage services")."""


@define(frozen=True, kw_only=True)
class AzureBlob(Target):
    """An Azure Blob URL with a shared access signature.

    Attributes:
        folder: Path that precedes the names of output files; None for the signature of one blob.
    """

    kind = "azure-blob"
    # Azure Logic Apps and Power Automate have sv, sp and sig too: sv=1.0, sp=/triggers/manual/run, sig as base64url.
    identifiers = Identifiers(
        values={
            "sv": DATE,
            "sig": HMAC_SHA256,
            **dict.fromkeys(("st", "se", "skt", "ske"), ISO_TIME),
            **dict.fromkeys(("skoid", "sktid"), UUID),
        },
        others={
            "sp": re.compile("[racwdxyltmeopfiu]{1,16}"),
            "sr": re.compile("[bcd]|bs|bv"),
            "srt": re.compile("[sco]{1,3}"),
            "spr": re.compile("https(?:,http)?"),
        },
    )
    accepts = frozenset({201})
    redirects = False
    max_bytes = None
    encoding_header = "x-ms-blob-content-encoding"

    folder: str | None = None

    @classmethod
    def recognize(cls, callback: Callback, settings: TargetSettings) -> Target | None:
        """See `Target.recognize`."""
        url = callback.url
        if not {"sig", "sv"} <= url.query_names() or not {"se", "si"} & url.query_names():
            return None
        if not DATE.fullmatch(url.query("sv") or ""):
            return None
        _check_parameters(url)
        if url.query("spr") == "https" and url.scheme == "http":
            raise InvalidTargetError(
                f"The shared access signature of {url} is for https only.", hint="Use https://.", url=str(url)
            )
        if not set(url.query("sp") or "w") & set("cw"):
            raise InvalidTargetError(
                f"The shared access signature of {url} doesn't have permission to create or write a blob.",
                hint="Generate one with BlobSasPermissions(create=True, write=True).",
                url=str(url),
            )
        check_operation(callback, AZURE)
        _check_endpoint(url)
        blob = cls(callback=callback, expires_at=_expiry(url), folder=_folder(callback))
        if blob.folder is not None and callback.prefix is not None:
            blob = blob._at(callback.prefix.document)
        _check_blob_name(blob.callback.url)
        return blob

    def warnings(self, now: datetime) -> tuple[str, ...]:
        """See `Target.warnings`."""
        found = Target.warnings(self, now)
        if self.folder is None or "w" in (self.callback.url.query("sp") or "w"):
            return found
        return (*found, _CREATE_ONLY)

    def takes_outputs(self) -> bool:
        """See `Target.takes_outputs`."""
        return self.folder is not None

    def below(self, name: str, media_type: str) -> Target:
        """See `Target.below`."""
        return evolve(self._at(name), media_type=media_type, folder=None)

    def _at(self, name: str) -> AzureBlob:
        url = self.callback.url.with_path(f"{self.folder}{quote(name)}").with_public_path()
        original = self.callback.given or self.callback
        return evolve(self, callback=evolve(self.callback, url=url, given=original))

    def check_limits(self, *, now: datetime, size: int | None) -> None:
        """See `Target.check_limits`."""
        Target.check_limits(self, now=now, size=size)
        limits, url = self._limits(), self.callback.url
        in_blocks = limits.block * MAX_BLOCKS if self._may_write() else limits.blob
        if size is None or size <= max(limits.blob, in_blocks):
            return
        if not self._may_write():
            raise ResultTooLargeError(
                f"{self.subject} has {size} bytes, and {url} takes at most {limits.blob} in one request: its shared "
                "access signature doesn't permit blocks.",
                hint="Generate one with BlobSasPermissions(create=True, write=True).",
                url=str(url),
            )
        raise ResultTooLargeError(
            f"{self.subject} has {size} bytes, and {url} takes at most {in_blocks}.",
            hint="Generate the SAS with a newer version (sv), or store large results from within the job.",
            url=str(url),
        )

    def in_parts(self, size: int, encoding: str | None) -> Target | None:
        """See `Target.in_parts`."""
        limits = self._limits()
        if size <= min(SINGLE_BLOB, limits.blob) or not self._may_write():
            return None
        # Imported here, because few processes need it.
        with no_fork:
            from callback_sdk.targets.azure_blocks import AzureBlocks, block_size

        return AzureBlocks(
            callback=self.callback,
            expires_at=self.expires_at,
            provider=self.provider,
            media_type=self.media_type,
            part_size=block_size(size, largest=limits.block, most=MAX_BLOCKS),
            max_parts=MAX_BLOCKS,
            encoding=encoding,
            may_read="r" in (self.callback.url.query("sp") or ""),
        )

    def _limits(self) -> BlobLimits:
        version = self.callback.url.query("sv") or ""
        return next(limits for since, limits in _LIMITS if version >= since)

    def _may_write(self) -> bool:
        """Return whether the signature permits blocks. Permissions in a stored access policy (si) are not known."""
        return "w" in (self.callback.url.query("sp") or "w")

    def request(self, document: Body, *, delivery_id: str, now: datetime) -> tuple[SecretFields, Body]:
        """See `Target.request`."""
        usual = {"x-ms-blob-type": "BlockBlob", "content-type": self.media_type, "content-md5": document.content_md5}
        return SecretFields({**usual, **given_headers(self.callback).reveal()}), document


def _check_parameters(url: SecretURL) -> None:
    """Reject a signature with a missing, malformed or repeated parameter."""
    names, parameters = url.query_names(), QueryParameters(url)
    parameters.check_once(_PARAMETERS)
    required = [] if "si" in names else ["sp"]
    required += ["ss", "srt"] if "sr" not in names and {"ss", "srt"} & names else ["sr"]
    required += _DELEGATION if names & set(_DELEGATION) else []
    depth = {"sdd": _DEPTH} if url.query("sr") == "d" else {}
    check_forms(parameters, {"sig": BASE64_SHA256, **dict.fromkeys(required, ANY), **depth})


def _folder(callback: Callback) -> str | None:
    """Return the path below which a signature permits blobs of any name; None if nobody asked for that.

    Raises:
        CallbackParamError: The signature is for one blob, or for another directory.
    """
    url, prefix = callback.url, callback.prefix
    if prefix is None or prefix.member != AZURE_PREFIX:
        return None
    path = url.path.rstrip("/")
    levels = len(path.strip("/").split("/")) - (2 if has_bare_host(url) else 1)
    depth = int(url.query("sdd") or 0) if url.query("sr") == "d" else 0
    is_of_many = url.query("sr") in ("c", "d") or "o" in (url.query("srt") or "")
    if not path or not is_of_many or not depth <= levels:
        raise CallbackParamError(
            f"azure_prefix of {url} needs a signature of a container or of a directory in the URL's path.",
            hint="Give the URL of the container with the signature of generate_container_sas, or that of the directory "
            "with the signature of generate_directory_sas.",
            url=str(url),
        )
    return f"{path}/{quote(prefix.path)}"


def _expiry(url: SecretURL) -> datetime | None:
    """Return when the signature expires; None if its times are in a stored access policy of the container (si)."""
    start, *ends = (_time(url, name) for name in ("st", "se", "ske"))
    known = [end for end in ends if end is not None]
    if not known:
        return None
    if start is not None and start >= min(known):
        raise InvalidTargetError(
            f"The shared access signature of {url} begins when it has ended already (st, se).",
            hint="Generate one that begins now and ends after the job.",
            url=str(url),
        )
    return min(known)


def _time(url: SecretURL, name: str) -> datetime | None:
    return parse_expiry(url, lambda: iso_time(url, name)) if name in url.query_names() else None


def _check_endpoint(url: SecretURL) -> None:
    """Reject the endpoint of another service of a storage account, and the one of its copy in the secondary region.

    A signature for a blob is valid at its own service only.
    """
    host = url.host.rstrip(".")
    labels = host.split(".") if host.endswith(_DOMAINS) else []
    if services := _SERVICES.intersection(labels[1:3]):
        raise wrong_operation(
            url,
            AZURE,
            f"is at the endpoint of another service than Blob Storage ({min(services)}, not blob)",
            # Of the same account and with the same signature ("Multi-protocol access on Azure Data Lake Storage").
            hint="Use the endpoint of Blob Storage, .blob. in place of .dfs." if "dfs" in services else None,
        )
    # Names of accounts have no hyphen ("Read access to data in the secondary region", Azure Storage redundancy).
    if "".join(_account_in_path(url) or labels[:1]).endswith("-secondary"):
        raise wrong_operation(
            url,
            AZURE,
            "is at the secondary endpoint of its account, which is read-only",
            hint="Use its primary endpoint: leave -secondary out.",
        )


def _account_in_path(url: SecretURL) -> list[str]:
    """Return the account in the path, where emulators such as Azurite have it."""
    return url.path.split("/")[1:2] if has_bare_host(url) else []


def _check_blob_name(url: SecretURL) -> None:
    """Reject the URL of a container or account, as Azure's portal shows it for a container's SAS."""
    account, _, path = url.path.removeprefix("/").partition("/") if has_bare_host(url) else ("account", "", url.path)
    container, slash, name = path.removeprefix("/").partition("/")
    # A blob in the root container may be addressed without the container's name, has no slash in its own name ("Naming
    # and referencing containers, blobs, and metadata" in Azure's reference), and only sr=b can be for one.
    in_root = container and not slash and url.query("sr") == "b"
    if not account or not (in_root or (container and name)):
        raise wrong_operation(url, AZURE, "has no blob name: its path ends with the container or the account")
