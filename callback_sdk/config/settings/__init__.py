"""All settings, each declared once, with its environment variable and its command line option.

Each module has those of one subject. All names are imported here, so that `vars` of this package has every setting.
"""

from callback_sdk.config.settings.aistore import *  # noqa: F403
from callback_sdk.config.settings.client import *  # noqa: F403
from callback_sdk.config.settings.deliveries import *  # noqa: F403
from callback_sdk.config.settings.monitoring import *  # noqa: F403
from callback_sdk.config.settings.program import *  # noqa: F403
from callback_sdk.config.settings.quotas import *  # noqa: F403
from callback_sdk.config.settings.runs import *  # noqa: F403
from callback_sdk.config.settings.server import *  # noqa: F403
from callback_sdk.config.settings.storage import *  # noqa: F403
from callback_sdk.config.settings.targets import *  # noqa: F403
from callback_sdk.config.settings.workers import *  # noqa: F403
