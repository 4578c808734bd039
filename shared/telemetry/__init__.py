"""Logs and metrics. Both are observers: they record what happens and change nothing.

It may import the values of every other package, and Powertools. It offers `logs.logger`, the only logger, and the
observers `logs.Logs` and `metrics.Metrics`.
"""
