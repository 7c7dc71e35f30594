"""Makes a process that imports it test unavailable hosts after a fraction of a second."""

from __future__ import annotations

from callback_sdk.concurrency import circuit

circuit.FIRST_OPEN, circuit.MAX_OPEN = 0.5, 1.0
