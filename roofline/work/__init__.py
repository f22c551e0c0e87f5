"""What is computed, never on what: operators, workloads, plans, and what engines make of them."""
