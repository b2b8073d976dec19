"""What tests of and with Pileus need: a clock that is moved by hand, and clouds inside one process."""
