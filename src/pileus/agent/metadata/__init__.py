"""The instance metadata service (IMDS): what 169.254.169.254 answers to the guests of this host."""
