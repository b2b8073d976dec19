"""The block store: snapshots as content-addressed, compressed, optionally sealed blocks of 512 KiB."""
