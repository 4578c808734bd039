"""Calculates what the service costs in a month from counted looks and calls, measured times and list prices.

`bill` is the arithmetic. Its numbers come from `counted` (the simulated cloud), `measured` (benchmarks/results.json and
template.yaml) and `prices`; `page` makes docs/costs.md and the details of them. `make costs` calculates
with the user's numbers.
"""
