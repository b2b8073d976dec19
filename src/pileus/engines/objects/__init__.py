"""The object store: the data plane of S3 over a file system."""
