"""Settings of boto3 clients for AIStore."""

from __future__ import annotations

from typing import Literal

from callback_sdk.config import settings
from callback_sdk.config.environ_config import environ
from callback_sdk.config.reader import Config, variable


@environ.config(prefix="CALLBACK_SDK", from_environ=None, frozen=True)
class AIStoreConfig(Config):
    """Settings of `callback_sdk.aistore` and its patch: defaults of the arguments that their caller omits."""

    aistore_allow_hosts: tuple[str, ...] = variable(settings.AISTORE_ALLOW_HOSTS)
    aistore_max_redirects: int = variable(settings.AISTORE_MAX_REDIRECTS)
    aistore_unknown_nodes: Literal["auto", "follow", "reject"] = variable(settings.AISTORE_UNKNOWN_NODES)
