"""What every stage stands on: errors with exit codes, durable files, hash-chained logs and the writer's lock.

Nothing here knows a marketplace, a model or a list. A thing belongs here only when two stages that may not import
each other need it.
"""
