"""All of S3 in AIStore: with the oldest and the newest boto3, by client and by patch, without AuthN and with it."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from callback_sdk.testing import AIStore
from tests.conftest import missing_server

ROOT = Path(__file__).parents[2]
OLDEST = Path(sys.prefix) / "oldest"

SCRIPT = """
import os, sys
import boto3
from botocore.config import Config
from tests.checkers.surface import exercise

how, endpoint, bucket, token = sys.argv[1], sys.argv[2], sys.argv[3], os.environ.get("TOKEN")
if how == "client":
    from callback_sdk import aistore
    s3 = aistore.client(endpoint, token=token)
else:
    s3 = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="id",
        aws_secret_access_key="key",
        aws_session_token=token,
        config=Config(s3={"addressing_style": "path"}, proxies={}),
    )
    import callback_sdk.aistore.patch
exercise(s3, bucket, aistore=True)
sys.stdout.write(boto3.__version__)
"""


@pytest.mark.parametrize("boto3", ["oldest", "newest"])
@pytest.mark.parametrize("how", ["client", "patch"])
@pytest.mark.parametrize("authn", [False, True], ids=["open", "AuthN"])
def test_all_of_s3_works(boto3: str, how: str, authn: bool) -> None:
    """With a token of the default role, which may not see the cluster's map, and nodes at other addresses."""
    if boto3 == "oldest" and not OLDEST.is_dir():
        missing_server("There is no old boto3 beside the newest one; make oldest installs it.")
    paths = [str(OLDEST), str(ROOT)] if boto3 == "oldest" else [str(ROOT)]
    users = {"anna": "a password"} if authn else None
    with AIStore(users=users, addresses=("127.0.0.2", "127.0.0.3")) as cluster:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("AIS_", "AWS_"))}
        environment |= {"TOKEN": cluster.issue_token("anna")} if authn else {}
        run = subprocess.run(
            [sys.executable, "-W", "error", "-c", SCRIPT, how, cluster.endpoint_url, f"b-{secrets.token_hex(6)}"],
            env={**environment, "PYTHONPATH": os.pathsep.join(paths)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert (run.returncode, run.stderr) == (0, "")
        assert run.stdout.startswith("1.36.") is (boto3 == "oldest")
        assert {request.status for request in cluster.requests if request.path.startswith("/s3")} >= {200, 307}
        assert cluster.objects == {}
