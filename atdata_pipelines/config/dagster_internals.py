"""What Dagster has no public name for, in one place: each release is looked through here, and nowhere else.

Tags and data versions are what Dagster writes beside a materialisation, so that it tells later what is out of date;
the rest reads what its public calls do not give (partitions definitions by name, the shortest time between two
ticks, how partitions of two assets map).
"""
# ruff: noqa: F401 - others import from here

from dagster._core.definitions.data_version import (
    CODE_VERSION_TAG,
    DATA_VERSION_IS_USER_PROVIDED_TAG,
    DATA_VERSION_TAG,
    DEFAULT_DATA_VERSION,
    NULL_EVENT_POINTER,
    SKIP_PARTITION_DATA_VERSION_DEPENDENCY_THRESHOLD,
    extract_data_version_from_entry,
    get_input_data_version_tag,
    get_input_event_pointer_tag,
)
from dagster._core.definitions.partitions.context import partition_loading_context
from dagster._core.definitions.partitions.utils import infer_partition_mapping
from dagster._core.events import AssetMaterializationPlannedData
from dagster._core.storage.event_log import DynamicPartitionsTable, SqlEventLogStorage
from dagster._core.storage.tags import AUTOMATION_CONDITION_TAG, GRPC_INFO_TAG, PARTITION_NAME_TAG
from dagster._utils.schedules import get_smallest_cron_interval, is_valid_cron_string
