"""Checks of the wheel on every supported Python, with the newest and the lowest dependencies.

`nox` runs them all and `nox -s lowest` one of them. Interpreters that are not on the PATH are left out.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import nox

ROOT = Path(__file__).parent
PYTHONS = ["3.10", "3.11", "3.12", "3.13"]
LOCK = "requirements-dev.txt"

nox.options.default_venv_backend = "uv"
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = False


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests without servers against the wheel, with the newest dependencies."""
    session.install(f"{_wheel(session)}[all,test]")
    _test(session)


@nox.session(python=PYTHONS[0])
def lowest(session: nox.Session) -> None:
    """Run the same tests with the lowest versions in setup.cfg, on the lowest Python."""
    lowest = Path(session.create_tmp(), "lowest.txt")
    options = ["--resolution", "lowest-direct", "--extra", "all", "--no-header", "--no-annotate", "--quiet"]
    session.install("uv")
    session.run("uv", "pip", "compile", "setup.cfg", *options, "--output-file", str(lowest))
    session.install(f"{_wheel(session)}[all,test]", "--constraint", str(lowest))
    # Old versions cause deprecation warnings of newer libraries.
    _test(session, *(f"-Wignore::{kind}Warning" for kind in ("Deprecation", "PendingDeprecation", "Future")))


@nox.session
def package(session: nox.Session) -> None:
    """Build sdist and wheel into dist/, the wheel from the sdist, and check both."""
    shutil.rmtree(ROOT / "dist", ignore_errors=True)
    session.install("build", "twine", "check-wheel-contents", "--constraint", _versions(session))
    session.run("python", "-m", "build", "--outdir", "dist", silent=True)
    files = [str(path) for path in (ROOT / "dist").iterdir()]
    session.run("twine", "check", "--strict", *files)
    session.run("check-wheel-contents", *[path for path in files if path.endswith(".whl")])


@nox.session(python=PYTHONS)
def types(session: nox.Session) -> None:
    """Check the types as users' mypy sees them, by the wheel's `py.typed`."""
    session.install(f"{_wheel(session)}[all]", "mypy", "--constraint", _versions(session))
    session.chdir(_elsewhere(session))
    session.run("mypy", "--config-file", "", "--strict", "tests/types")


@nox.session
def audit(session: nox.Session) -> None:
    """Check the locked packages for known vulnerabilities."""
    session.install("pip-audit", "--constraint", _versions(session))
    # Strict: packages that can't be looked up in the database of vulnerabilities are an error.
    session.run("pip-audit", "--strict", "--requirement", LOCK, "--disable-pip", "--progress-spinner", "off")


def _wheel(session: nox.Session) -> str:
    """Build the wheel from this checkout, and return its path."""
    session.install("build")
    out = Path(session.create_tmp(), "wheel")
    shutil.rmtree(out, ignore_errors=True)
    session.run("python", "-m", "build", "--wheel", "--outdir", str(out), str(ROOT), silent=True)
    (wheel,) = out.glob("*.whl")
    return str(wheel)


def _elsewhere(session: nox.Session) -> Path:
    """Copy everything except the package's source, so that only the installed package can be imported."""
    copy = Path(session.create_tmp(), "checkout")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "callback_sdk", "build", "dist", "*.egg-info"))
    return copy


def _test(session: nox.Session, *options: str) -> None:
    session.chdir(_elsewhere(session))
    names = session.posargs or ["tests/unit", "tests/property"]
    parallel = ("-n", "2", "--dist", "loadfile", "--no-loadscope-reorder")
    session.run("python", "-m", "pytest", *parallel, "-q", "-m", "not checkout", *options, *names)


def _versions(session: nox.Session) -> str:
    """Return a constraints file with the locked versions. Constraints can't have hashes."""
    kept = Path(session.create_tmp(), "versions.txt")
    lines = [line.rstrip(" \\") for line in (ROOT / LOCK).read_text().splitlines() if line[:1].isalnum()]
    kept.write_text("\n".join(lines))
    return str(kept)
