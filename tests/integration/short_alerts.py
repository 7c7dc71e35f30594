"""Makes a process that imports it observe and send alerts several times a second, and test failing hosts as often."""

from __future__ import annotations

import short_circuits  # noqa: F401

from callback_sdk.service.alerts import alerter, decisions, observations

alerter.INTERVAL, alerter.MESSAGE_INTERVAL = 0.2, 0.0
decisions.RESOLVE_DELAY = 1.0
decisions.FLAP_INTERVAL = 0.0
observations._BRIEF = 0.5
