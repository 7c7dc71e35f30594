"""Caller: the sender of a request, and the tasks and data it may use. All authorization is decided here."""

from __future__ import annotations

from enum import Enum

from attrs import define

from callback_sdk.service.store.models import OPERATOR, User


class Right(Enum):
    """What a caller may do with a task.

    Attributes:
        SEE: Its status, deliveries, errors and logs.
        MANAGE: Cancel it, and redeliver its result to where it was to go.
        READ: Its results and output files; send them elsewhere.
    """

    SEE = "see"
    MANAGE = "manage"
    READ = "read"


@define(frozen=True, kw_only=True)
class Caller:
    """The user who sends a request.

    Attributes:
        user: The user.
        via: The interface, for the audit log: `"api"` or `"pages"`.
        address: The client's address.
    """

    user: User
    via: str
    address: str

    @property
    def is_operator(self) -> bool:
        """Whether the caller may operate the service: its hosts, its queues and its audit log."""
        return self.user.role == OPERATOR

    @property
    def scope(self) -> str | None:
        """Id of the only user whose tasks the caller may see; None for those of all users."""
        return None if self.is_operator else self.user.user_id

    def owns(self, owner: str) -> bool:
        """Return whether tasks of a user, given by the id, are the caller's own."""
        return owner == self.user.user_id

    def may(self, right: Right, owner: str) -> bool:
        """Return whether the caller has a right to the tasks of a user, given by the id."""
        return self.owns(owner) or (self.is_operator and (right is not Right.READ or self.user.may_read))
