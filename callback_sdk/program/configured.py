"""The writer with the configuration of the environment. What runs before a program has started imports it later."""

from __future__ import annotations

from callback_sdk.aistore.sources import token_sources
from callback_sdk.config.storage import WriterConfig
from callback_sdk.writer import ResultsWriter


def open_writer() -> ResultsWriter:
    """Return a writer with the configuration of the environment.

    Raises:
        ConfigurationError: The configuration is not valid.
    """
    config = WriterConfig.from_environ()
    return ResultsWriter(
        storage_endpoints=config.storage_endpoints,
        aistore_clusters=token_sources(config.aistore_clusters),
        webhook_secrets=config.webhook_secrets,
    )
