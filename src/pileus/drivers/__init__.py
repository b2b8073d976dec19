"""What makes a host's spec so. Each family has an interface, a fake, and implementations that do not know one another."""
