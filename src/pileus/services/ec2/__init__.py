"""Amazon EC2: one file per resource. ``api`` is all of it."""
