"""Makes a process that imports it send documents of 64 KiB and more to Azure in blocks of 64 KiB."""

from __future__ import annotations

from callback_sdk.targets import azure, azure_blocks

BLOCK = 64 * 1024
azure.SINGLE_BLOB = azure_blocks.BLOCK_SIZE = BLOCK
