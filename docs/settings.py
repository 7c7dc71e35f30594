"""Writes the tables of `configuration.md` from the declarations of the settings: `python docs/settings.py`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from callback_sdk.config import settings
from callback_sdk.config.aistore import AIStoreConfig
from callback_sdk.config.client import ClientConfig
from callback_sdk.config.definition import Setting
from callback_sdk.config.reader import SEED_NAMES, settings_of
from callback_sdk.config.service import ServiceConfig
from callback_sdk.config.storage import ProgramConfig, StorageConfig

PAGE = Path(__file__).with_name("configuration.md")
_SHARED = (settings.STORAGE_ENDPOINTS, settings.AISTORE_CLUSTERS, settings.WEBHOOK_SECRETS)
_BEGIN = "<!-- The tables below are written by docs/settings.py. -->\n"


def tables() -> str:
    """Return the tables in Markdown: for client, writer and service in common, and each alone."""
    groups = {
        "Writer, client and service": _SHARED,
        "Client": settings_of(ClientConfig),
        "Service and workers": settings_of(ServiceConfig),
        "Programs": settings_of(ProgramConfig),
        "Scripts and notebooks": settings_of(StorageConfig),
        "boto3 clients for AIStore": settings_of(AIStoreConfig),
    }
    done: set[str] = set()
    texts = []
    for title, group in groups.items():
        own = [setting for setting in group if setting.variable not in done]
        done |= {setting.variable for setting in own}
        texts.append(f"## {title}\n\n{_table(own)}")
    return "\n".join(texts)


def _table(group: Iterable[Setting]) -> str:
    head = "| variable | option | default | meaning |\n|---|---|---|---|\n"
    return head + "".join(f"{_row(setting)}\n" for setting in group)


def _row(setting: Setting) -> str:
    option = f"`{setting.option}`" if setting.option else "—"
    older = SEED_NAMES.get(setting.variable)
    meaning = setting.help + (f" Also read from `{older}`." if older else "")
    cells = (f"`{setting.variable}`", option, setting.shown_default or "—", meaning)
    return f"| {' | '.join(cell.replace('*', chr(92) + '*').replace('|', chr(92) + '|') for cell in cells)} |"


def page() -> str:
    """Return the page with the tables of now."""
    before, _, _ = PAGE.read_text(encoding="utf-8").partition(_BEGIN)
    return f"{before}{_BEGIN}\n{tables()}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
