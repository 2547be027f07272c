"""What every stage stands on: errors with exit codes, durable files, hash-chained logs, the writer's lock, test faults.

Nothing here knows a marketplace, a model or a list (`faults` only their names). A thing belongs here only when two stages
that may not import each other need it.
"""
