"""Pileus: an EC2-compatible cloud that people run themselves."""

__version__ = "0.1.0"
