"""Facts of tasks as text: the lines of one task, and its row in a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from callback_sdk.commands.printing import moment, one_line, print_table

if TYPE_CHECKING:
    from callback_sdk.client import Task, TaskSummary


def print_facts(facts: dict[str, str], task: Task) -> None:
    targets = [("TARGET", f"{one.url} {one.status} {one.error or ''}") for one in task.deliveries]
    print_table((), [(name, one_line(text)) for name, text in [*facts.items(), *targets] if text.strip()])


def facts(task: Task) -> dict[str, str]:
    return {
        "ID": task.job_id,
        "ALGORITHM": f"{task.algorithm or ''} {task.version or ''}",
        "KIND": task.kind or "",
        "STATUS": task.outcome or task.status,
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
        task.outcome or task.status,
        progress(task),
        moment(task.created_at),
        ", ".join(f"{count} {name}" for name, count in counts.items() if count),
        one_line(task.error or ""),
    )


def progress(task: Task | TaskSummary) -> str:
    fraction = "" if task.progress.fraction is None else f"{task.progress.fraction:.0%}"
    return f"{fraction} {task.progress.message}".strip()
