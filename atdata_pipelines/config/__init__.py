"""What an instance of the pipeline is configured with: resources, settings, executors, partitions."""

__all__ = [
    "account_blobs",
    "dagster_instance",
    "environment",
    "executors",
    "hooks",
    "partitions",
    "resources",
    "run_config",
    "sandbox_lab",
    "settings",
    "shard_s3",
    "times",
]
