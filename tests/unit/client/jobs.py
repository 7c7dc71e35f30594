"""Jobs as the tests of the client submit them, and a look at errors as a notebook gives it."""

from __future__ import annotations

import base64
import io
import json
import traceback
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.traceback import Traceback

from tests.signedurls import v4

TOKEN = "token-4711-that-nobody-may-see"
SIGNATURE = "5fadf00d" * 8
NOW = datetime.now(timezone.utc)
SIGNED = f"https://bucket.s3.eu-central-1.amazonaws.com/k.json?{v4(date=NOW, expires=3600, signature=SIGNATURE)}"
HOOK = "https://example.org/done"
_TESTS = str(Path(__file__).parent)
BUCKET = "https://bucket.s3.eu-central-1.amazonaws.com/"
PREDICT = "/algorithms/an-algorithm/predict"
DATA = {"a": [1, 2]}
ACCEPTED = {"job_id": "42", "status": "Pending"}


def s3_fields() -> dict[str, str]:
    """Return fields as generate_presigned_post returns them."""
    date = f"{NOW:%Y%m%dT%H%M%SZ}"
    given = {
        "acl": "bucket-owner-full-control",
        "key": "k.json",
        "x-amz-algorithm": "AWS4-HMAC-SHA256",
        "x-amz-credential": f"AKIAEXAMPLE/{NOW:%Y%m%d}/eu-central-1/s3/aws4_request",
        "x-amz-date": date,
    }
    policy = {
        "expiration": f"{NOW + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}",
        "conditions": [{"bucket": "bucket"}, *({name: value} for name, value in given.items())],
    }
    return {**given, "policy": base64.b64encode(json.dumps(policy).encode()).decode(), "x-amz-signature": SIGNATURE}


def walk(error: BaseException) -> Iterator[TracebackType]:
    """Yield an error's frames, the outermost first."""
    link = error.__traceback__
    while link is not None:
        yield link
        link = link.tb_next


def shown(error: BaseException) -> str:
    """Render an error as notebooks and loggers do, with the locals of every frame but the tests' own."""
    frames = [frame for frame in walk(error) if not frame.tb_frame.f_code.co_filename.startswith(_TESTS)]
    below: TracebackType | None = None
    for frame in reversed(frames):
        below = TracebackType(below, frame.tb_frame, frame.tb_lasti, frame.tb_lineno)
    console = Console(file=io.StringIO(), width=400)
    console.print(
        Traceback.from_exception(
            type(error),
            error,
            below,
            show_locals=True,
            locals_max_length=None,
            locals_max_string=None,
        )
    )
    plain = traceback.TracebackException(type(error), error, below, capture_locals=True)
    return f"{console.file.getvalue()}{''.join(plain.format())}{error!r}{error}"  # type: ignore[attr-defined]
