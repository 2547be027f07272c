"""What runs, when, and what stops what. Holds no data logic."""
