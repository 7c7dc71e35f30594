"""The algorithms of `engine_jobs`, in processes that give up on silent blob storage after seconds.

Services and workers import the registry before they call the storage, so these are their timeouts.
"""

from __future__ import annotations

from engine_jobs import registry as registry

from callback_sdk.service.blobs import bucket

bucket._TIMEOUTS["data"] |= {"connect_timeout": 2, "read_timeout": 2}
bucket._PAUSE = 1.0
bucket._PROBE = 8.0
