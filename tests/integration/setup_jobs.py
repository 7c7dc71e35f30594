"""Algorithms with setups, controlled by files of a directory: what is loaded is noted there."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

from callback_sdk.service import Registry

FOLDER = Path(os.environ["PYTHON_SETUP_JOBS"])
registry = Registry()


def note(what: str) -> None:
    with (FOLDER / "log").open("a") as file:
        file.write(f"{what} {os.getpid()}\n")


note("imported")


@registry.setup(timeout=timedelta(seconds=20))
def load():
    note("set up")
    print("printed by the setup")  # noqa: T201
    if (FOLDER / "fail").exists():
        raise RuntimeError("no model at https://user:password@example.org/model")
    if (FOLDER / "die").exists():
        os._exit(3)
    if (FOLDER / "hang").exists():
        time.sleep(60)
    os.environ["SET_BY_SETUP"] = "kept"
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    return {"model": 3, "pid": os.getpid()}


@registry.algorithm("shared")
def shared(features, parameters, context):
    if parameters.get("change"):
        os.environ["SET_BY_SETUP"] = "changed"
        context.state["model"] = 3
    if parameters.get("die"):
        os._exit(1)
    if parameters.get("leave"):
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    if parameters.get("keep"):
        context.state["kept"] = b"x" * parameters["keep"]
    end = time.monotonic() + 60
    while (FOLDER / "log").read_text().count("\nset up") < parameters.get("setups", 0) and time.monotonic() < end:
        time.sleep(0.01)
    return [context.state["model"], context.state["pid"] == os.getpid(), os.environ["SET_BY_SETUP"], os.getpid()]


@registry.algorithm("own", setup_timeout=20)
async def own(context):
    return await context.state


@own.setup
async def prepare():
    note("own set up")
    future = asyncio.get_running_loop().create_future()
    future.set_result("own")
    return future


@registry.algorithm("class", setup_timeout=20)
class Model:
    def setup(self):
        note("class set up")
        self.size = bytearray(300_000_000)

    def predict(self, context):
        return [len(self.size), context.state["model"]]
