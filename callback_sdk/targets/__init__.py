"""From a callback to a target, and from a target to the one upload that it asks for."""

from callback_sdk.targets.planner import KINDS, check_callback, check_target, plan
from callback_sdk.targets.target import WEBHOOK_LIMIT, Settings, Target

__all__ = ["KINDS", "WEBHOOK_LIMIT", "Settings", "Target", "check_callback", "check_target", "plan"]
