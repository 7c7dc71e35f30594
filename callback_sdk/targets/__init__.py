"""From a callback to a target, and from a target to the one upload that it asks for."""

from callback_sdk.targets.planner import check_callback, check_target, plan
from callback_sdk.targets.target import MAX_WEBHOOK_BYTES, Target, TargetSettings

__all__ = ["MAX_WEBHOOK_BYTES", "Target", "TargetSettings", "check_callback", "check_target", "plan"]
