"""The host side: makes a host's spec so through drivers, reports what is so, and serves 169.254.169.254 to its guests."""
