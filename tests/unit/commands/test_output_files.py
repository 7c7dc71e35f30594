"""Output files on the command line: `sign prefix`, `check` and `send --output`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from callback_sdk import S3Signer
from callback_sdk.config.target_files import read_targets, split_outputs
from callback_sdk.testing import ObjectStore, WebhookReceiver

Run = Callable[..., tuple[int, str, str]]


def test_signed_prefix_is_explained(run: Run, tmp_path: Path) -> None:
    """`check` tells what a form for a prefix permits, and shows no credential."""
    code, out, _ = run("sign", "prefix", "s3://bucket/runs/42/", "--region", "eu-central-1", "--max-bytes", "1000")
    assert code == 0
    (target,) = json.loads(out)
    assert target["param"]["s3_prefix"] == {"document": "result.json"}
    (tmp_path / "target.json").write_text(out)
    code, out, _ = run("check", "target.json", "--no-resolve", "--json")
    (facts,) = json.loads(out)
    assert (code, facts["problem"]) == (0, None)
    assert facts["operation"] == "upload of any objects below a prefix"
    assert facts["object"].endswith("/runs/42/result.json")
    assert facts["outputs"].endswith("/runs/42/NAME")
    assert target["param"]["s3_fields"]["x-amz-signature"] not in out


@pytest.mark.parametrize("place", ["bucket", "bucket/runs", "bucket/../"])
def test_invalid_prefix_is_an_error(run: Run, place: str) -> None:
    """A prefix without a slash at its end would permit other prefixes too."""
    code, out, err = run("sign", "prefix", place, "--region", "eu-central-1")
    assert (code in (1, 2), out) == (True, "")
    assert "BUCKET" in err or "prefix" in err


def test_files_are_sent_before_their_document(run: Run, tmp_path: Path) -> None:
    """`--output` takes files and directories; a target with a name takes the file of that name."""
    (tmp_path / "results.json").write_text('{"life": 7.5}')
    (tmp_path / "model.bin").write_bytes(b"model")
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "fit.png").write_bytes(b"png")
    outputs = ("--output", "model.bin=model.bin", "--output", "plots=plots")
    with ObjectStore() as store, WebhookReceiver() as receiver:
        signer = S3Signer("results", client=store.client())
        prefix, put = signer.presign_prefix("runs/42/"), signer.presign_put("models/42")
        targets = [
            {"url": prefix.url, "param": prefix.callback_param},
            {"url": put.url, "output": "model.bin"},
            {"url": receiver.url},
        ]
        (tmp_path / "targets.json").write_text(json.dumps(targets))
        code, out, err = run("send", "results.json", "targets.json", "--job-id", "42", *outputs, "--json")
        assert (code, err) == (0, "")
        assert sorted(store.objects) == [
            "results/models/42",
            "results/runs/42/plots/fit.png",
            "results/runs/42/result.json",
        ]
        listed = receiver.wait_for()[0].document["results"]["outputs"]
    assert {name: entry["size"] for name, entry in listed.items()} == {"model.bin": 5, "plots/fit.png": 3}
    assert [sorted(receipt["outputs"]) for receipt in json.loads(out)] == [["model.bin", "plots/fit.png"]] * 2


@pytest.mark.parametrize(
    ("output", "problem"),
    [
        ("model.bin", "Give NAME=PATH"),
        ("=model.bin", "Give NAME=PATH"),
        ("../x=model.bin", "segment . or .."),
        ("model.bin=missing", "can't be read"),
        ("model.bin=results.json", "No target takes the output file"),
    ],
)
def test_files_that_can_not_be_sent(run: Run, tmp_path: Path, output: str, problem: str) -> None:
    """Wrong usage, invalid names and files without a target are errors, and nothing is sent."""
    (tmp_path / "results.json").write_text("{}")
    with WebhookReceiver() as receiver:
        code, _, err = run("send", "results.json", receiver.url, "--job-id", "42", "--output", output)
        assert code in (1, 2)
        assert problem in " ".join(err.split())
        assert not receiver.requests


def test_the_option_webhook_is_for_documents_only(tmp_path: Path) -> None:
    """The target of an output file stays as it is, with the file's name."""
    file = tmp_path / "targets.json"
    given = [{"url": "https://example.org/done"}, {"url": "https://example.org/model.bin", "output": "model.bin"}]
    file.write_text(json.dumps(given))
    documents, outputs = split_outputs(read_targets(str(file), webhook=True))
    assert documents.reveal() == [(given[0], {"webhook": True})]
    assert outputs.reveal() == {"model.bin": {"url": "https://example.org/model.bin"}}
