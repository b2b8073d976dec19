"""What every API operation shares: its declaration, and DryRun, idempotency, pagination, filters and tags done once for all."""
