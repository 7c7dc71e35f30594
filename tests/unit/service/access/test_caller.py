"""callback_sdk.service.access.caller"""

from __future__ import annotations

import pytest

from callback_sdk.service.access.caller import Caller, Right
from callback_sdk.service.store.models import OPERATOR, USER, User


def caller(role: str, *, may_read: bool = False) -> Caller:
    user = User(
        user_id="1", name="a", token_generation=0, disabled=False, created_at=0.0, role=role, may_read=may_read
    )  # fmt: skip
    return Caller(user=user, via="api", address="::1")


@pytest.mark.parametrize("right", Right)
def test_rights_to_the_things_of_others(right: Right) -> None:
    """Users have none, operators all but to read, which is a permission of its own, and for operators only."""
    assert caller(USER).may(right, "1")
    assert not caller(USER).may(right, "2")
    assert not caller(USER, may_read=True).may(right, "2")
    assert caller(OPERATOR).may(right, "2") == (right is not Right.READ)
    assert caller(OPERATOR, may_read=True).may(right, "2")


def test_scope() -> None:
    """Lists of operators are those of all users."""
    assert caller(USER).scope == "1"
    assert caller(OPERATOR).scope is None
