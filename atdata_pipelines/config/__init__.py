"""What an instance of the pipeline is configured with: resources, settings, executors, partitions."""
