"""Facts of tasks as text: the lines of one task, and its row in a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from callback_sdk.commands.printing import moment, one_line, print_facts
from callback_sdk.commands.states import state_of

if TYPE_CHECKING:
    from callback_sdk.client import Delivery, DeliverySnapshot, ListedDelivery, Task, TaskSummary


def print_task(facts: dict[str, str], task: Task) -> None:
    targets = [("TARGET", f"{place(one)} {one.status} {one.error or ''}") for one in task.deliveries]
    print_facts([*facts.items(), *targets])


def facts(task: Task) -> dict[str, str]:
    return {
        "ID": task.job_id,
        "ALGORITHM": f"{task.algorithm or ''} {task.version or ''}",
        "KIND": task.kind or "",
        "STATUS": state_of(task),
        "ERROR": task.error or "",
        "PROGRESS": progress(task),
        "PRIORITY": "" if task.priority is None else str(task.priority),
        "CREATED": moment(task.created_at),
        "STARTED": moment(task.started_at),
        "FINISHED": moment(task.finished_at),
        "EXPIRES": "" if task.started_at or task.ended else moment(task.expires_at),
        "OUTPUTS": f"{len(task.outputs)} (--outputs lists them)" if task.outputs else "",
    }


def task_cells(task: TaskSummary) -> tuple[str, ...]:
    counts = {name: getattr(task.deliveries, name) for name in ("pending", "delivered", "dead")}
    return (
        task.job_id,
        f"{task.algorithm or ''} {task.version or ''}".strip(),
        task.kind or "",
        state_of(task),
        progress(task),
        moment(task.created_at),
        ", ".join(f"{count} {name}" for name, count in counts.items() if count),
        one_line(task.error or ""),
    )


def place(delivery: Delivery | DeliverySnapshot | ListedDelivery) -> str:
    """Return where a delivery goes, with the name of its output file."""
    return delivery.url if delivery.output is None else one_line(f"{delivery.output} to {delivery.url}")


def progress(task: Task | TaskSummary) -> str:
    fraction = "" if task.progress.fraction is None else f"{task.progress.fraction:.0%}"
    return f"{fraction} {task.progress.message}".strip()
