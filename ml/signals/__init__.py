"""Signals that SQL cannot compute: what is in a picture, in a text, in a net of links.

Pure functions, Arrow in and Arrow out, in batches. Each describes contents alone, whenever they were seen; what was known at
which date is for dbt, which joins this with the tables.
"""
