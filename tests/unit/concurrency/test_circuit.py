"""callback_sdk.concurrency.circuit"""

from __future__ import annotations

import math

import pytest

from callback_sdk.concurrency.circuit import (
    CLOSED,
    FIRST_OPEN,
    HALF_OPEN,
    MAX_OPEN,
    OPEN,
    RAMP,
    Circuit,
    Gate,
    HostLimits,
)


def failed(circuit: Circuit, now: float, times: int = 1, **options: float) -> Circuit:
    for _ in range(times):
        circuit = circuit.after_failure(now, threshold=5, **options)
    return circuit


def test_a_run_of_failures_opens_a_circuit() -> None:
    """Four failures don't, and a response in between begins another run."""
    assert failed(Circuit(), 0, 4).state(0) == CLOSED
    assert failed(failed(Circuit(), 0, 4).after_success(), 0, 4).state(0) == CLOSED
    circuit = failed(Circuit(), 100, 5)
    assert (circuit.state(100), circuit.window(100), circuit.open_since) == (OPEN, 0, 100)
    assert circuit.state(100 + FIRST_OPEN) == HALF_OPEN
    assert circuit.window(100 + FIRST_OPEN) == 1


def test_the_open_period_doubles_up_to_a_bound() -> None:
    """Each failed probe opens the circuit again, since the time of that probe, and it stays open since the first."""
    circuit, now, periods = failed(Circuit(), 0, 5), 0.0, []
    for _ in range(30):
        periods.append((circuit.retry_at or 0) - now)
        now = circuit.retry_at or 0
        circuit = failed(circuit, now)
    assert periods[:6] == [15, 30, 60, 120, 240, MAX_OPEN]
    assert max(periods) == MAX_OPEN
    assert circuit.open_since == 0


def test_jitter_shortens_the_open_period_by_up_to_a_quarter() -> None:
    """So circuits that opened together aren't tested together, and the bound holds."""
    assert [failed(Circuit(), 0, 5, jitter=jitter).retry_at for jitter in (0, 0.5, 1)] == [15, 13.125, 11.25]


def test_retry_after_extends_the_open_period() -> None:
    """Also that of a delivery that began before the circuit opened, whose failure counts as nothing else."""
    assert failed(Circuit(), 0, 5, retry_after=3600).retry_at == 3600
    circuit = failed(failed(Circuit(), 0, 5), 1, retry_after=60)
    assert (circuit.retry_at, circuit.openings) == (61, 1)


def test_late_failures_of_earlier_attempts_do_not_extend_the_open_period() -> None:
    """Eight attempts that ran when the circuit opened fail after it; only probes count."""
    assert failed(failed(Circuit(), 0, 5), 1, 8).retry_at == FIRST_OPEN


def test_a_host_that_works_again_is_given_more_and_more_deliveries() -> None:
    """One at first, then one more with each success, until it is treated as any other host."""
    circuit = failed(Circuit(), 0, 5).after_success()
    windows = []
    while circuit != Circuit():
        windows.append(circuit.window(20))
        circuit = circuit.after_success()
    assert windows == list(range(1, RAMP + 1))
    assert circuit.window(20) == math.inf


def test_a_host_that_fails_again_while_it_recovers_is_left_alone_for_longer() -> None:
    """The periods begin again only once it is at full speed."""
    circuit = failed(failed(Circuit(), 0, 5).after_success(), 20, 5)
    assert (circuit.openings, circuit.retry_at) == (2, 50)
    for _ in range(RAMP + 1):
        circuit = circuit.after_success()
    assert failed(circuit, 100, 5).retry_at == 100 + FIRST_OPEN


@pytest.mark.parametrize(("running", "free"), [(0, 3), (2, 1), (3, 0), (9, 0)])
def test_concurrency_is_limited(running: int, free: int) -> None:
    """More may run than the limit, which an operator has lowered."""
    assert Gate(circuit=Circuit(), limits=HostLimits(max_concurrency=3)).free(0, running) == free


@pytest.mark.parametrize(("rate", "burst"), [(10.0, 10), (2.5, 2), (1.0, 1), (0.5, 1), (1 / 3600, 1)])
def test_a_rate_is_kept_over_any_time(rate: float, burst: int) -> None:
    """At most the deliveries of one second at once, then one after the other; idle time isn't saved up."""
    limits, next_slot_at, started = HostLimits(max_rate=rate), 0.0, []
    for tick in range(2000):
        now = 1000 + tick / rate / 20
        gate = Gate(circuit=Circuit(), limits=limits, next_slot_at=next_slot_at)
        while gate.free(now, 0) >= 1:
            started.append(now)
            gate = Gate(circuit=Circuit(), limits=limits, next_slot_at=gate.after_start(now))
        next_slot_at = gate.next_slot_at
    assert started.count(1000) == burst
    seconds = 1999 / rate / 20
    assert len(started) <= burst + seconds * rate + 1
    assert len(started) >= seconds * rate - 1


def test_a_gate_tells_when_it_opens() -> None:
    """A paused host has no such time: an operator resumes it."""
    opened = failed(Circuit(), 0, 5)
    assert Gate(circuit=opened, is_paused=True).opens_at(1) is None
    assert Gate(circuit=opened, is_paused=True).free(1, 0) == 0
    assert Gate(circuit=opened).opens_at(1) == FIRST_OPEN
    assert Gate(circuit=Circuit(), limits=HostLimits(max_rate=0.1), next_slot_at=8).opens_at(1) == 8
    assert (Gate(circuit=Circuit()).opens_at(1) or 0) > 1


def test_resuming_an_open_circuit_tests_the_host_at_once() -> None:
    """The circuit isn't closed by it: one delivery goes first."""
    circuit = failed(Circuit(), 0, 5).due_now(1)
    assert (circuit.state(1), circuit.window(1)) == (HALF_OPEN, 1)
    assert Circuit(failures=2).due_now(1) == Circuit(failures=2)


def test_limits_of_a_host_replace_those_of_the_settings() -> None:
    """Each alone."""
    defaults = HostLimits(max_concurrency=8, max_rate=2.0)
    assert HostLimits(max_rate=9.0).over(defaults) == HostLimits(max_concurrency=8, max_rate=9.0)
    assert not HostLimits()
