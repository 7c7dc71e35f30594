"""From a callback to a target, and from a target to the one upload that it asks for."""

from callback_sdk.targets.planner import KINDS, check_callback, check_target, plan
from callback_sdk.targets.target import WEBHOOK_LIMIT, Target, TargetSettings

__all__ = ["KINDS", "WEBHOOK_LIMIT", "Target", "TargetSettings", "check_callback", "check_target", "plan"]
