"""`callback-sdk submit`, `tasks`, `deliveries`, `redeliver` and `cancel`: requests, output and exit codes."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from callback_sdk import cli
from callback_sdk.client import connection, waiting
from callback_sdk.commands import submit, tasks
from tests.unit.client.fake import FakeService
from tests.unit.client.jobs import ACCEPTED, BUCKET, HOOK, PREDICT, SIGNATURE, SIGNED, TOKEN, s3_fields

TASK = "/algorithms/tasks/42"
NOON = "2026-01-01T12:00:00+00:00"
RECEIPT = {
    "kind": "webhook",
    "url": "https://h/x",
    "status": 200,
    "size": 7,
    "sha256": "0123456789abcdef",
    "started_at": NOON,
    "finished_at": NOON,
}
TARGET = {"url": "https://h/x", "status": "delivered", "attempt_count": 1, "error": None}
DONE = {
    "job_id": "42",
    "algorithm": "an-algorithm",
    "version": "1.0.0",
    "kind": "predict",
    "status": "Finished",
    "success": True,
    "predictions": {"damage": 0.1},
    "progress": {"fraction": 1.0, "message": ""},
    "priority": 5,
    "created_at": NOON,
    "receipts": [RECEIPT],
    "deliveries": [TARGET],
}
DELIVERY = {
    "delivery_id": "d-1",
    **TARGET,
    "next_attempt_at": None,
    "receipt": RECEIPT,
    "attempts": [{"number": 1, "started_at": NOON, "finished_at": NOON, "error": None}],
}
DEAD = {**DELIVERY, "delivery_id": "d-2", "status": "dead", "error": "410\nGone.", "receipt": None}

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs a command line, and returns exit code, output and errors."""

    def call(*arguments: object) -> tuple[int, str, str]:
        code = cli.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        for text in (out, err):
            assert "Traceback" not in text
            assert "\x1b" not in text
            assert TOKEN not in text
            assert SIGNATURE not in text
        return code, out, err

    return call


@pytest.fixture
def features(tmp_path: Path) -> Path:
    """Make a file of features."""
    path = tmp_path / "features.json"
    path.write_text('{"a": [1, 2]}')
    return path


def test_logs_are_printed_unchanged(service: FakeService, run: Run) -> None:
    """Without other output, for a single task only."""
    service.on("GET", f"{TASK}/logs", service.Say(raw=b"line 1\nline 2\n", headers={"Content-Type": "text/plain"}))
    assert run("tasks", "42", "--logs") == (0, "line 1\nline 2\n", "")
    assert run("tasks", "--logs")[0] == 2
    assert run("tasks", "42", "--logs", "--json")[0] == 2


def test_a_task_without_output_says_so(service: FakeService, run: Run) -> None:
    """On standard error, as standard output has what the task printed, and its files."""
    service.on("GET", f"{TASK}/logs", service.Say(raw=b"", headers={"Content-Type": "text/plain"}))
    service.on("GET", f"{TASK}/logs/new", service.Say(data={"text": "", "cursor": "1.0", "ended": True}))
    for options in ((), ("--follow",)):
        assert run("tasks", "42", "--logs", *options) == (0, "", "The task has printed nothing.\n")
    service.on("GET", TASK, service.Say(data=DONE))
    service.on("GET", f"{TASK}/outputs", service.Say(data=[]))
    assert run("tasks", "42", "--outputs") == (0, "", "The task has no output files.\n")
    assert run("tasks", "42", "--outputs", "--json")[:2] == (0, "[]\n")


def test_new_output_is_printed_until_the_task_has_ended(service: FakeService, run: Run) -> None:
    """Escaped, as terminals would obey it."""
    first = {"text": "line 1\n\x1b[2J", "cursor": "1.11", "ended": False}
    last = {"text": " 2\n", "cursor": "1.14", "ended": True}
    service.on("GET", f"{TASK}/logs/new", service.Say(data=first))
    service.on("GET", f"{TASK}/logs/new?cursor=1.11", service.Say(data=last))
    assert run("tasks", "42", "--logs", "--follow") == (0, "line 1\n\\x1b[2J 2\n", "")
    assert run("tasks", "42", "--follow")[0] == 2


def test_submit_prints_the_id(run: Run, service: FakeService, features: Path) -> None:
    """Without other output, for use in scripts."""
    service.on("POST", PREDICT, service.Say(202, ACCEPTED))
    assert run("submit", "an-algorithm", features) == (0, "42\n", "")
    (seen,) = service.requests
    assert seen.headers["authorization"] == f"Bearer {TOKEN}"
    assert json.loads(seen.form["features"]) == {"a": [1, 2]}
    assert "callback_url" not in seen.form


def test_every_option_is_sent(run: Run, service: FakeService, features: Path, tmp_path: Path) -> None:
    """Callbacks on the command line precede those of the file. Credentials of the file are never shown."""
    service.on("POST", PREDICT, service.Say(202, ACCEPTED))
    parameters, callbacks = tmp_path / "p.json", tmp_path / "c.json"
    parameters.write_text('{"m": 5}')
    callbacks.write_text(json.dumps([{"url": BUCKET, "param": {"s3_fields": s3_fields()}}, {"url": SIGNED}]))
    options = ["--version", "1.0.0", "--priority", 9, "--expires", "2h", "--no-evaluate", "--json"]
    code, out, _ = run(
        *("submit", "an-algorithm", features, "--parameters", parameters, "--idempotency-key", "k", *options),
        *("--callback", HOOK, "--callback", f"{HOOK}/2", "--callbacks-file", callbacks),
    )
    (seen,) = service.requests
    form = seen.form
    assert code == 0
    assert json.loads(out)["job_id"] == "42"
    assert seen.headers["idempotency-key"] == "k"
    assert json.loads(form["parameters"]) == {"m": 5}
    assert (form["version"], form["priority"], form["evaluate"]) == (b"1.0.0", b"9", b"false")
    assert form["expires"] == b"7200.000000"
    assert form["callback_url"].decode().split("|") == [HOOK, f"{HOOK}/2", BUCKET, SIGNED]
    assert json.loads(form["callback_param"]) == [{}, {}, {"s3_fields": s3_fields()}, {}]


def test_the_token_may_be_in_a_file(
    run: Run, service: FakeService, features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--url` and `--token-file` have precedence over the environment; a trailing newline isn't part of the token."""
    monkeypatch.setenv("CALLBACK_SDK_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("CALLBACK_SDK_TOKEN", "another")
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    service.on("POST", PREDICT, service.Say(202, ACCEPTED))
    assert run("submit", "an-algorithm", features, "--url", service.url, "--token-file", file)[0] == 0
    assert service.requests[0].headers["authorization"] == f"Bearer {TOKEN}"


def test_the_environment_may_have_a_name_and_a_password(
    run: Run, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commands log in as the client does."""
    monkeypatch.delenv("CALLBACK_SDK_TOKEN")
    monkeypatch.setenv("CALLBACK_SDK_USERNAME", "anna")
    monkeypatch.setenv("CALLBACK_SDK_PASSWORD", SIGNATURE)
    service.on("POST", "/token/", service.Say(data={"access": "access-1", "refresh": "refresh-1"}))
    service.on("GET", TASK, service.Say(data=DONE))
    assert run("tasks", 42)[0] == 0
    assert service.requests[-1].headers["authorization"] == "Bearer access-1"


@pytest.mark.parametrize(
    ("outcome", "code", "said"),
    [
        ({}, 0, ""),
        ({"success": False, "error": "No rows."}, 3, "42 failed: No rows."),
        ({"status": "Canceled", "success": False}, 3, "42 was canceled"),
        ({"deliveries": [TARGET, {**TARGET, "status": "dead"}]}, 3, "Dead deliveries: 1. `callback-sdk deliveries 42`"),
    ],
)
def test_waiting_exits_with_a_code_for_the_outcome(
    run: Run, service: FakeService, features: Path, outcome: dict[str, Any], code: int, said: str
) -> None:
    """3 means that the task failed, was canceled or has a dead delivery. The id is always printed."""
    service.on("POST", PREDICT, service.Say(202, ACCEPTED))
    service.on("GET", TASK, service.Say(data={**DONE, **outcome}))
    ended, out, err = run("submit", "an-algorithm", features, "--wait")
    assert (ended, out.splitlines()[0]) == (code, "42")
    assert said in err


def test_waiting_ends_with_the_outcome(run: Run, service: FakeService, features: Path) -> None:
    """The task's facts, and the results: the start of long ones. An error is printed once."""
    service.on("POST", PREDICT, service.Say(202, ACCEPTED))
    service.on("GET", TASK, service.Say(data={**DONE, "evaluations": {"error": list(range(500))}}))
    out = run("submit", "an-algorithm", features, "--wait")[1]
    rows = dict(line.split(maxsplit=1) for line in out.splitlines()[1:])
    assert rows["PREDICTIONS"].rstrip() == '{"damage": 0.1}'
    assert rows["EVALUATIONS"].rstrip().endswith("… (--json prints all)")
    assert rows["TARGET"].split() == ["https://h/x", "delivered"]
    service.on("GET", TASK, service.Say(data={**DONE, "success": False, "predictions": None, "error": "No rows."}))
    code, out, err = run("submit", "an-algorithm", features, "--wait")
    assert (code, "No rows." in out, err.count("No rows.")) == (3, False, 1)


@pytest.mark.parametrize("answers", ["no login", "no answer", "busy"])
def test_the_timeout_of_waiting_bounds_the_submission(
    run: Run, service: FakeService, features: Path, monkeypatch: pytest.MonkeyPatch, answers: str
) -> None:
    """Logins, retries and their pauses count. The key of a request that may have been accepted is named."""
    monkeypatch.setenv("CALLBACK_SDK_RETRIES", "100")
    monkeypatch.setenv("CALLBACK_SDK_TIMEOUT", "1h")
    never = threading.Event()
    if answers == "no login":
        monkeypatch.delenv("CALLBACK_SDK_TOKEN")
        monkeypatch.setenv("CALLBACK_SDK_USERNAME", "anna")
        monkeypatch.setenv("CALLBACK_SDK_PASSWORD", SIGNATURE)
        service.on("POST", "/token/", service.Say(hold=never))
    elif answers == "busy":
        service.on("POST", PREDICT, service.Say(503, {"error": "Full."}, headers={"Retry-After": "1"}))
    else:
        service.on("POST", PREDICT, service.Say(202, ACCEPTED, hold=never))
    code, out, err = run("submit", "an-algorithm", features, "--wait", "--timeout", "1500ms")
    never.set()
    assert (code, out) == (1, "")
    assert len(service.requests) <= 2
    assert ("--idempotency-key" in err) is (answers != "no login")


def test_parameters_may_be_inline(run: Run, service: FakeService, features: Path) -> None:
    """Text that starts as a JSON object is one; anything else names a file."""
    service.on("POST", PREDICT, service.Say(202, ACCEPTED))
    assert run("submit", "an-algorithm", features, "--parameters", ' {"m": 5}')[0] == 0
    assert json.loads(service.requests[0].form["parameters"]) == {"m": 5}


@pytest.mark.parametrize("text", ["{m: 5}", '{"m": NaN}', '{"m": 1' + "}" * 9, "{" * 100_000, '{"\udcff": 1}'])
def test_inline_parameters_that_are_not_json(run: Run, service: FakeService, features: Path, text: str) -> None:
    """The error says how to quote them. Nothing is sent."""
    code, _, err = run("submit", "a", features, "--parameters", text)
    assert (code, service.requests) == (2, [])
    assert "is not JSON" in " ".join(err.split())


def test_parameters_may_be_all_there_is(run: Run, service: FakeService) -> None:
    """No features are sent, and none are needed on the command line."""
    service.on("POST", PREDICT, service.Say(202, ACCEPTED))
    assert run("submit", "an-algorithm", "--parameters", "{}")[0] == 0
    assert "features" not in service.requests[0].form


def test_waiting_can_end_with_the_results(run: Run, service: FakeService, features: Path) -> None:
    """With --json the output is the whole task; the id is printed before."""
    service.on("POST", PREDICT, service.Say(202, ACCEPTED))
    service.on("GET", TASK, service.Say(data=DONE))
    code, out, err = run("submit", "an-algorithm", features, "--wait", "--json")
    assert (code, err) == (0, "42\n")
    assert json.loads(out)["predictions"] == {"damage": 0.1}


def test_waiting_has_a_timeout(run: Run, service: FakeService, features: Path) -> None:
    """The task continues, and the error has a command to query it."""
    service.on("POST", PREDICT, service.Say(202, ACCEPTED))
    service.on("GET", TASK, service.Say(data=ACCEPTED))
    code, out, err = run("submit", "an-algorithm", features, "--wait", "--timeout", "100ms")
    assert (code, out) == (1, "42\n")
    assert "it is Pending and continues. Show the task later: `callback-sdk tasks 42`" in err


def test_a_lost_answer_names_the_option_to_come_back_with(run: Run, service: FakeService, features: Path) -> None:
    """The key of the request that may have made a task is there to be used again."""
    service.on("POST", PREDICT, service.Say(drop=True))
    code, out, err = run("submit", "an-algorithm", features)
    assert (code, out) == (1, "")
    assert f"--idempotency-key {service.requests[0].headers['idempotency-key']} creates" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["submit"], "ALGORITHM"),
        (["algorithms", "--template", "input"], "ALGORITHM"),
        (["algorithms", "a", "--template", "schema"], "--template"),
        (["algorithms", "a", "--version", "1"], "--template"),
        (["submit", "a", SIGNED], "--callback"),
        (["submit", "a", "f.json", "--priority", "10"], "--priority"),
        (["submit", "a", "f.json", "--timeout", "soon"], "--timeout"),
        (["submit", "a", "f.json", "--token", "x"], "--token"),
        (["tasks", "--status", "done"], "--status"),
        (["tasks", "42", "--status", "pending"], "JOB_ID"),
        (["tasks", "--limit", "0"], "--limit"),
        (["redeliver", "42"], "DELIVERY_ID"),
        (["redeliver", "42", "d-1", "--dead"], "DELIVERY_ID"),
        (["tasks", "--outputs"], "Give a JOB_ID."),
        (["tasks", "42", "--outputs", "--logs"], "Omit --logs."),
        (["redeliver", "42", "--dead", "--target", "new.json"], "--target"),
        (["redeliver", "42", "d-1", "d-2", "--target", "new.json"], "--target"),
        (["cancel"], "JOB_ID"),
    ],
)
def test_wrong_usage_ends_with_2(run: Run, service: FakeService, arguments: list[str], said: str) -> None:
    """Nothing is asked of the service."""
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert service.requests == []


def test_an_extra_argument_is_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """It may be a signed URL without its option."""
    app = typer.Typer()
    submit.add_to(app)
    with pytest.raises(SystemExit) as ended:
        app(["submit", "a", "f.json", SIGNED])
    assert ended.value.code == 2
    assert SIGNATURE not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (f'{{"url": "{BUCKET}"}}', "s3_fields"),
        (f'[{{"url": "{SIGNED}"', "not valid JSON"),
        ("\udcff", "neither one URL nor JSON"),
        ("[]", "no target"),
        (f'[{{"url": "{SIGNED}", "s3_fields": {{}}}}]', "callback URL is a string"),
        (f'["{BUCKET}"]', "s3_fields"),
        (f'"{SIGNED}', "not valid JSON"),
        (f'[{{"url": "{SIGNED}", "output": ["x"]}}]', "output of a target is of type list"),
        (f'[{{"url": "{SIGNED}", "output": "x"}}, {{"url": "{SIGNED}", "output": "x"}}]', "more than one target"),
        (f'[{{"url": "{HOOK}", "output": "x"}}]', "a webhook, which takes documents only"),
    ],
)
def test_invalid_callbacks_are_not_sent(
    run: Run, service: FakeService, features: Path, tmp_path: Path, content: str, said: str
) -> None:
    """The error has the cause, and no content of the file."""
    path = tmp_path / "callbacks.json"
    path.write_text(content, errors="surrogateescape")
    code, _, err = run("submit", "a", features, "--callbacks-file", path)
    assert (code, service.requests) == (1, [])
    assert said in err


def test_a_url_may_be_a_json_string(run: Run, service: FakeService, features: Path, tmp_path: Path) -> None:
    """A file that is named .json has quotes around it."""
    service.on("POST", PREDICT, service.Say(202, ACCEPTED))
    path = tmp_path / "callbacks.json"
    path.write_text(f'"{HOOK}"\n')
    assert run("submit", "an-algorithm", features, "--callbacks-file", path)[0] == 0
    assert service.requests[0].form["callback_url"].decode() == HOOK


def test_targets_of_output_files_are_submitted(run: Run, service: FakeService, features: Path, tmp_path: Path) -> None:
    """A target with "output" is that of a file, besides those of the document."""
    service.on("POST", PREDICT, service.Say(202, ACCEPTED))
    path = tmp_path / "callbacks.json"
    path.write_text(json.dumps([{"url": HOOK}, {"url": SIGNED, "output": "model.bin"}]))
    assert run("submit", "an-algorithm", features, "--callbacks-file", path)[0] == 0
    assert json.loads(service.requests[0].form["callbacks"]) == [
        {"url": HOOK, "param": {}},
        {"url": SIGNED, "param": {}, "output": "model.bin"},
    ]


def test_a_file_that_is_not_there_is_an_error(run: Run, service: FakeService, tmp_path: Path) -> None:
    """Whichever it is, it is named."""
    for option in ("--callbacks-file", "--token-file", "--parameters"):
        code, _, err = run("submit", "a", __file__, option, tmp_path / "none.json")
        assert code == 1
        assert "none.json" in err or "neither Parquet nor JSON" in err
    code, _, err = run("submit", "a", tmp_path / "none.parquet")
    assert code == 1
    assert "none.parquet" in err


def test_fail_on_error_does_not_apply_to_commands(
    run: Run, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scripts may set it in the environment, but a failed command still exits with an error."""
    monkeypatch.setenv("CALLBACK_SDK_FAIL_ON_ERROR", "false")
    code, out, err = run("tasks", 42)
    assert (code, out) == (1, "")
    assert "404" in err


def test_tasks_are_listed(run: Run, service: FakeService) -> None:
    """One line each: how it stands, and how many of its deliveries stand how."""
    one = {**DONE, "deliveries": {"pending": 0, "delivered": 2, "dead": 1}}
    two = {**ACCEPTED, "job_id": "43", "progress": {"fraction": 0.5, "message": "counting"}, "status": "In Progress"}
    three = {**DONE, "job_id": "44", "success": False, "error": "No\nrows.", "deliveries": {}}
    service.on("GET", "/algorithms/tasks?limit=50", service.Say(data={"tasks": [two, one, three], "next_cursor": None}))
    code, out, _ = run("tasks")
    lines = [line.split("\t") for line in out.splitlines()]
    assert code == 0
    assert lines[0] == ["43", "", "", "in-progress", "50% counting", "", "", ""]
    assert lines[1][3:] == ["succeeded", "100%", "2026-01-01 12:00:00 UTC", "2 delivered, 1 dead", ""]
    assert (lines[2][0], lines[2][3], lines[2][7]) == ("44", "failed", "No rows.")
    assert [task["job_id"] for task in json.loads(run("tasks", "--json")[1])] == ["43", "42", "44"]


def test_a_list_can_be_narrowed(run: Run, service: FakeService) -> None:
    """By status, as it is easy to type, by algorithm and by number."""
    query = "status=In+Progress&algorithm=an-algorithm&limit=1"
    service.on("GET", f"/algorithms/tasks?{query}", service.Say(data={"tasks": [], "next_cursor": None}))
    code, out, _ = run("tasks", "--status", "in-progress", "--algorithm", "an-algorithm", "--limit", 1, "--json")
    assert (code, json.loads(out)) == (0, [])


def test_failed_tasks_are_selected(service: FakeService, run: Run) -> None:
    """By a short option, instead of a state."""
    service.on("GET", "/algorithms/tasks?status=failed&limit=50", service.Say(data={"tasks": [], "next_cursor": None}))
    assert run("tasks", "--failed") == run("tasks", "--status", "failed") == (0, "", "")
    assert run("tasks", "--failed", "--status", "pending")[0] == 2
    assert run("tasks", "42", "--failed")[0] == 2


ID = "3f2a9c10-5c1e-4d3a-9b1f-0a2b3c4d5e6f"
DELIVERY_ID = "msg_0123456789abcdef0123456789abcdef"


def test_a_unique_prefix_is_an_id(service: FakeService, run: Run) -> None:
    """Of every command, and of deliveries too."""
    page = {"tasks": [{**ACCEPTED, "job_id": ID}], "next_cursor": None}
    service.on("GET", "/algorithms/tasks?id_prefix=3f2a&limit=11", service.Say(data=page))
    path = f"/algorithms/tasks/{ID}"
    service.on("GET", path, service.Say(data={**DONE, "job_id": ID}))
    service.on("DELETE", path, service.Say(202, {"job_id": ID, "status": "Canceled"}))
    service.on("GET", f"{path}/logs", service.Say(raw=b"line\n", headers={"Content-Type": "text/plain"}))
    delivery = {**DEAD, "delivery_id": DELIVERY_ID}
    service.on("GET", f"{path}/deliveries", service.Say(data=[delivery]))
    service.on("POST", f"{path}/deliveries/{DELIVERY_ID}/redeliver", service.Say(202, delivery))
    assert run("tasks", "3f2a")[1].startswith(f"ID\t{ID}\n")
    assert run("tasks", "3F2A", "--logs")[1] == "line\n"
    assert run("cancel", "3f2a")[1] == f"{ID} is canceled.\n"
    assert run("deliveries", "3f2a")[1].startswith(DELIVERY_ID)
    assert run("redeliver", "3f2a", "0123")[:2] == (0, "1 delivery is due now.\n")


def test_an_ambiguous_prefix_is_an_error(service: FakeService, run: Run) -> None:
    """It lists the candidates, and cancels none."""
    other = ID.replace("9c10", "9c11")
    page = {"tasks": [{**ACCEPTED, "job_id": one} for one in (ID, other)], "next_cursor": None}
    service.on("GET", "/algorithms/tasks?id_prefix=3f2a&limit=11", service.Say(data=page))
    for command in ("tasks", "cancel", "deliveries"):
        code, out, err = run(command, "3f2a")
        assert (code, out) == (1, "")
        assert f"Several ids begin with '3f2a':\n  {ID}\n  {other}\n Give more characters of the id." in err
    assert service.paths("DELETE") == []


def test_a_delivery_names_its_output_file(service: FakeService, run: Run) -> None:
    """In the lines of a task, as in the list of its deliveries."""
    service.on("GET", TASK, service.Say(data={**DONE, "deliveries": [{**TARGET, "output": "model.bin"}]}))
    assert "TARGET\tmodel.bin to https://h/x delivered" in run("tasks", 42)[1]


def test_one_task_is_shown(run: Run, service: FakeService) -> None:
    """Without its results, which are for --json."""
    service.on("GET", TASK, service.Say(data={**DONE, "deliveries": [{**TARGET, "status": "dead", "error": "410"}]}))
    code, out, _ = run("tasks", 42)
    assert code == 0
    for text in ("42", "an-algorithm 1.0.0", "succeeded", "100%", "2026-01-01 12:00:00 UTC", "https://h/x dead 410"):
        assert text in out
    assert "damage" not in out
    whole = json.loads(run("tasks", 42, "--json")[1])
    assert (whole["predictions"], whole["created_at"]) == ({"damage": 0.1}, NOON)


def test_deliveries_are_shown(run: Run, service: FakeService) -> None:
    """With the last error or the receipt; in JSON with every attempt."""
    service.on("GET", f"{TASK}/deliveries", service.Say(data=[DELIVERY, DEAD]))
    code, out, _ = run("deliveries", 42)
    assert code == 0
    assert out.splitlines() == [
        "d-1\tdelivered\t1\t\thttps://h/x\t200, 7 bytes, sha256 0123456789ab",
        "d-2\tdead\t1\t\thttps://h/x\t410 Gone.",
    ]
    assert json.loads(run("deliveries", 42, "--json")[1])[0]["attempts"][0]["number"] == 1


def test_deliveries_are_made_anew(run: Run, service: FakeService) -> None:
    """Those that are named, or all that are dead."""
    service.on("GET", f"{TASK}/deliveries", service.Say(data=[DELIVERY, DEAD]))
    for name in ("d-1", "d-2"):
        again = {**DEAD, "delivery_id": name, "status": "pending"}
        service.on("POST", f"{TASK}/deliveries/{name}/redeliver", service.Say(202, again))
    assert run("redeliver", 42, "d-1", "d-2")[:2] == (0, "2 deliveries are due now.\n")
    assert len(service.paths("POST")) == 2
    assert run("redeliver", 42, "--dead")[:2] == (0, "1 delivery is due now.\n")
    waits = {**DEAD, "delivery_id": "d-1", "status": "pending", "held_since": "2030-01-01T00:00:00+00:00"}
    service.on("POST", f"{TASK}/deliveries/d-1/redeliver", service.Say(202, waits))
    out = run("redeliver", 42, "d-1")[1]
    assert out == "1 delivery is due now. 1 waits for a host that is paused or fails: callback-sdk hosts\n"
    service.requests.pop()
    code, out, _ = run("redeliver", 42, "d-1", "--json")
    assert (code, [one["delivery_id"] for one in json.loads(out)]) == (0, ["d-1"])
    service.requests.pop()
    assert service.paths("POST")[2:] == [f"/api/v2{TASK}/deliveries/d-2/redeliver"]


def test_a_delivery_gets_the_target_of_a_file(run: Run, service: FakeService, tmp_path: Path) -> None:
    """Which isn't printed; several targets in it are an error."""
    again = {"delivery_id": "d-1", "url": "https://h/x", "status": "pending", "attempt_count": 1}
    service.on("POST", f"{TASK}/deliveries/d-1/redeliver", service.Say(202, again))
    place, target = tmp_path / "new.json", {"url": "https://example.org/done?token=MARKER9c2e", "param": {}}
    place.write_text(json.dumps(target))
    assert run("redeliver", 42, "d-1", "--target", place) == (0, "The delivery has the new target.\n", "")
    assert json.loads(service.requests[-1].body) == {"target": target}
    place.write_text(json.dumps([target, target]))
    code, out, err = run("redeliver", 42, "d-1", "--target", place)
    assert (code, out) == (1, "")
    assert "2 targets" in err
    assert "MARKER9c2e" not in err


def test_the_id_of_a_single_delivery_is_optional(run: Run, service: FakeService) -> None:
    """With several deliveries it is an error that says where ids are; a missing file is one that says what to give."""
    service.on("POST", f"{TASK}/deliveries/d-2/redeliver", service.Say(202, {**DEAD, "status": "pending"}))
    service.on("GET", f"{TASK}/deliveries", service.Say(data=[DEAD]))
    assert run("redeliver", 42, "--target", "Results:x.json")[:2] == (0, "The delivery has the new target.\n")
    assert json.loads(service.requests[-1].body)["target"]["url"].lower() == "results:x.json"
    service.on("GET", f"{TASK}/deliveries", service.Say(data=[DELIVERY, DEAD]))
    code, _, err = run("redeliver", 42, "--target", "results:")
    assert code == 1
    assert "has 2 deliveries" in err
    code, _, err = run("redeliver", 42, "--target", "nope.json")
    assert code == 1
    assert "No such file or directory: nope.json. Give a file with a URL or JSON, or a complete URL." in err


def test_a_callbacks_file_may_hold_results_alone(
    run: Run, service: FakeService, features: Path, tmp_path: Path
) -> None:
    """As it may hold a URL."""
    service.on("POST", PREDICT, service.Say(202, ACCEPTED))
    path = tmp_path / "callbacks.txt"
    path.write_text("results:\n")
    assert run("submit", "an-algorithm", features, "--callbacks-file", path)[0] == 0
    assert service.requests[0].form["callback_url"] == b"results:"


def test_tasks_are_canceled(run: Run, service: FakeService) -> None:
    """An error for one task doesn't prevent the cancellation of others."""
    for name in ("42", "44"):
        service.on("DELETE", f"/algorithms/tasks/{name}", service.Say(202, {"job_id": name, "status": "Canceled"}))
    service.on("DELETE", "/algorithms/tasks/43", service.Say(409, {"error": "It has ended."}))
    assert run("cancel", 42) == (0, "42 is canceled.\n", "")
    code, out, err = run("cancel", 42, 43, 44)
    assert (code, out) == (1, "42 is canceled.\n44 is canceled.\n")
    assert "It has ended" in err
    code, out, err = run("cancel", 42, 43, "--json")
    assert (code, [one["canceled"] for one in json.loads(out)]) == (1, [True, False])
    assert "It has ended" in json.loads(out)[1]["error"]


@pytest.mark.parametrize("command", ["submit", "tasks", "deliveries", "redeliver", "cancel"])
def test_the_help_has_the_exit_codes(run: Run, command: str) -> None:
    """Each command's help is its manual."""
    code, out, _ = run(command, "--help")
    assert code == 0
    assert "Exit codes" in out
    assert "--token-file" in out


def test_an_interrupted_submission_names_the_idempotency_key(
    run: Run, service: FakeService, features: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task may have been accepted: Ctrl-C ends with 130, and the option that makes no second task is printed."""

    def interrupted(*_: object) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(connection._BodyFile, "read", interrupted)
    code, out, err = run("submit", "an-algorithm", features, "--idempotency-key", "a-key")
    assert (code, out) == (130, "")
    assert err.startswith("Interrupted. The task may have been accepted")
    assert "--idempotency-key a-key creates" in err
    assert "idempotency_key=" not in err


def test_an_interrupted_wait_names_the_task(
    run: Run, service: FakeService, features: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C ends the waiting only, and the command that shows the task is printed."""

    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    service.on("POST", PREDICT, service.Say(202, ACCEPTED))
    service.on("GET", TASK, service.Say(200, {"job_id": "42", "status": "In Progress"}))
    monkeypatch.setattr(waiting.time, "sleep", interrupted)
    code, out, err = run("submit", "an-algorithm", features, "--wait")
    assert (code, out) == (130, "42\n")
    assert "The task continues." in err
    assert "`callback-sdk tasks 42`" in err


def test_an_interrupt_without_words_prints_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its exit code says it."""

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tasks, "open_client", interrupted)
    assert run("tasks") == (130, "", "")


def test_an_interrupt_is_escaped(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Like every other text on its way to a terminal."""

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt("\x1b[2J")

    monkeypatch.setattr(tasks, "open_client", interrupted)
    assert run("tasks") == (130, "", "Interrupted. \\x1b[2J\n")
