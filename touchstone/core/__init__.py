"""What every package depends on: errors with exit codes, durable files, hash-chained logs, the writer lock, failpoints.

Nothing here depends on the marketplace, a model or a list, except for their names (`lists`, `failpoints`, `home`). Code belongs
here only if two packages need it that may not import each other.
"""
