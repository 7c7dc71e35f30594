"""Backup and restore of a service."""

from callback_sdk.service.backup.backups import Backup, RestoreSummary, back_up, restore

__all__ = ["Backup", "RestoreSummary", "back_up", "restore"]
