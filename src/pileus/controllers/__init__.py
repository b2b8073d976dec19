"""What makes intent come true: every loop is woken by a change, reads, decides, does one thing and writes what came of it.

A crash anywhere leaves something that the next pass picks up; two of them side by side only repeat one another, since all
writes are compare-and-swap. Wired up by ``pileus.cmd``.
"""
