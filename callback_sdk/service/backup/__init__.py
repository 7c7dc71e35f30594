"""Backup and restore of a service."""

from callback_sdk.service.backup.backups import Backup, Restored, back_up, restore

__all__ = ["Backup", "Restored", "back_up", "restore"]
