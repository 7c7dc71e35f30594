"""`callback-sdk sign`: presign an upload of one object."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from callback_sdk.commands.options import AlwaysJSON, duration
from callback_sdk.commands.printing import moment, print_json, print_line

if TYPE_CHECKING:
    from callback_sdk.models import PresignedMultipart, PresignedPost, PresignedPrefix, PresignedPut
    from callback_sdk.signer import S3Signer

EXIT_OMITTED = 3
"""Exit code if some targets could not be presigned again."""

app = typer.Typer(
    name="sign",
    help="""Presign an upload of one object, with the credentials boto3 finds.

    The output is a credential: whoever has it can write the object until it expires.""",
    no_args_is_help=True,
)

Place = Annotated[
    str,
    typer.Argument(metavar="BUCKET/KEY", help="The object, as s3://BUCKET/KEY or BUCKET/KEY.", show_default=False),
]
Expires = Annotated[
    str, typer.Option(metavar="DURATION", help="Lifetime of the signature, such as 90s, 6h or 7d (maximum).")
]
ContentType = Annotated[str | None, typer.Option(metavar="TYPE", help="Signed Content-Type of the object.")]
Acl = Annotated[str | None, typer.Option(metavar="ACL", help="Canned ACL, such as bucket-owner-full-control.")]
Metadata = Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="Metadata of the object. Repeatable.")]
Region = Annotated[str | None, typer.Option(help="Region of the bucket.", show_default=False)]
EndpointUrl = Annotated[
    str | None, typer.Option(metavar="URL", help="URL of an S3-compatible store.", show_default=False)
]


@app.command("put")
def sign_put(
    place: Place,
    *,
    expires: Expires = "1h",
    content_type: ContentType = None,
    acl: Acl = None,
    metadata: Metadata = None,
    if_none_match: Annotated[
        bool, typer.Option("--if-none-match", help="Reject the upload if the object exists.")
    ] = False,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON for --callbacks-file of submit, including the signed headers.")
    ] = False,
) -> None:
    """Presign a PUT of one object and print the URL.

    Options that sign headers need --json, because the upload must send these headers.
    """
    options: dict[str, Any] = {"expires": duration(expires, "--expires"), "metadata": _pairs(metadata, "--metadata")}
    options |= {"content_type": content_type, "acl": acl, "if_none_match": if_none_match}
    key, signer = _signer(place, region, endpoint_url)
    target = signer.presign_put(key, **options)
    if target.callback_param and not as_json:
        raise typer.BadParameter("These options sign headers, which the plain URL doesn't carry: add --json.")
    _print_target(target, as_json=as_json)


@app.command("prefix")
def sign_prefix(
    place: Annotated[
        str,
        typer.Argument(
            metavar="BUCKET/PREFIX/", help="What precedes the objects' names; ends with a slash.", show_default=False
        ),
    ],
    *,
    expires: Expires = "1h",
    document: Annotated[str, typer.Option(metavar="NAME", help="Name of the document.")] = "result.json",
    acl: Acl = None,
    metadata: Metadata = None,
    max_bytes: Annotated[int | None, typer.Option(min=1, metavar="BYTES", help="Maximum size of each object.")] = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
    as_json: AlwaysJSON = True,
) -> None:
    """Presign a POST of a document and any number of output files below a prefix, and print it as JSON.

    Whoever has it can write any object below the prefix until it expires.
    """
    options: dict[str, Any] = {"expires": duration(expires, "--expires"), "metadata": _pairs(metadata, "--metadata")}
    options |= {"document": document, "acl": acl, "max_bytes": max_bytes}
    prefix, signer = _signer(place, region, endpoint_url)
    _print_target(signer.presign_prefix(prefix, **options), as_json=True)


@app.command("post")
def sign_post(
    place: Place,
    *,
    expires: Expires = "1h",
    content_type: ContentType = None,
    acl: Acl = None,
    metadata: Metadata = None,
    field: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="Form field. Repeatable.")] = None,
    max_bytes: Annotated[int | None, typer.Option(min=1, metavar="BYTES", help="Maximum size of the object.")] = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
    as_json: AlwaysJSON = True,
) -> None:
    """Presign a POST of one object and print the form as JSON for --callbacks-file of submit."""
    options: dict[str, Any] = {"expires": duration(expires, "--expires"), "metadata": _pairs(metadata, "--metadata")}
    options |= {"fields": _pairs(field, "--field"), "content_type": content_type, "acl": acl, "max_bytes": max_bytes}
    key, signer = _signer(place, region, endpoint_url)
    target = signer.presign_post(key, **options)
    _print_target(target, as_json=True)


@app.command("multipart")
def sign_multipart(
    place: Place,
    *,
    max_bytes: Annotated[int, typer.Option(min=1, metavar="BYTES", help="Maximum size of the object.")],
    part_size: Annotated[
        int | None, typer.Option(min=1, metavar="BYTES", help="Size of each part but the last one: 64 MiB.")
    ] = None,
    expires: Expires = "1h",
    content_type: ContentType = None,
    acl: Acl = None,
    metadata: Metadata = None,
    if_none_match: Annotated[
        bool, typer.Option("--if-none-match", help="Reject the completion if the object exists.")
    ] = False,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
    as_json: AlwaysJSON = True,
) -> None:
    """Start a multipart upload of one object over 5 GiB, and print its URLs as JSON for --callbacks-file of submit.

    An upload that isn't used stays in the bucket until a lifecycle rule removes it, or somebody aborts it.
    """
    options: dict[str, Any] = {"expires": duration(expires, "--expires"), "metadata": _pairs(metadata, "--metadata")}
    options |= {"content_type": content_type, "acl": acl, "if_none_match": if_none_match, "max_bytes": max_bytes}
    options |= {} if part_size is None else {"part_size": part_size}
    key, signer = _signer(place, region, endpoint_url)
    _print_target(signer.presign_multipart(key, **options), as_json=True)


@app.command("again")
def sign_again(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="What callback-sdk redeliver --skipped wrote; - reads standard input.",
            show_default=False,
        ),
    ],
    *,
    expires: Expires = "6h",
    content_type: ContentType = None,
    acl: Acl = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
    as_json: AlwaysJSON = True,
) -> None:
    """Presign the objects of expired targets again, and print them for `callback-sdk redeliver --targets -`.

    Each object keeps its bucket and key. Lines whose target is not an expired object of S3 are reported and omitted;
    the exit code is then 3. Pipe the output: it is a credential.
    """
    from callback_sdk.commands.resigning import Resigner
    from callback_sdk.commands.target_lines import read_objects

    options: dict[str, Any] = {"expires": duration(expires, "--expires"), "content_type": content_type, "acl": acl}
    resigner = Resigner(options, region=region, endpoint_url=endpoint_url)
    omitted = 0
    for number, item in read_objects(file):
        target = resigner.sign(item.reveal().get("object_url"))
        if isinstance(target, str):
            omitted += 1
            print_line(f"Line {number}: {target}", err=True)
            continue
        ids = {name: item.reveal().get(name) for name in ("job_id", "delivery_id")}
        print_line(json.dumps({**ids, "target": {"url": target.url, "param": target.callback_param}}))
    if omitted:
        raise typer.Exit(EXIT_OMITTED)


def _signer(place: str, region: str | None, endpoint_url: str | None) -> tuple[str, S3Signer]:
    from callback_sdk.signer import S3Signer

    rest = place.removeprefix("s3://")
    bucket, _, key = rest.partition("/")
    if not bucket or not key or "://" in rest:
        raise typer.BadParameter("Give BUCKET/KEY.", param_hint="BUCKET/KEY")
    return key, S3Signer(bucket, region=region, endpoint_url=endpoint_url)


def _print_target(
    target: PresignedPut | PresignedPost | PresignedMultipart | PresignedPrefix, *, as_json: bool
) -> None:
    if as_json:
        print_json([{"url": target.url, "param": target.callback_param}])
    else:
        print_line(target.url)
    if sys.stdout.isatty():
        print_line(f"It can be used until {moment(target.expires_at)}.", err=True)


def _pairs(given: list[str] | None, option: str) -> dict[str, str]:
    pairs = [text.partition("=") for text in given or ()]
    if not all(name and equals for name, equals, _ in pairs):
        raise typer.BadParameter("Give NAME=VALUE.", param_hint=option)
    return {name: value for name, _, value in pairs}
