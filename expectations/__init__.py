"""What data must be like: the source contract, and the suites that judge what the contract cannot.

The contract is data (`contract.yml`) that landing and dbt follow; suites are data too, run by the runner over Parquet.
Nothing here knows where data comes from, how it is shaped, or what is done when an expectation fails.
"""
