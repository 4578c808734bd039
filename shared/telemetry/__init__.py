"""Logs and metrics. Both are observers: they are told what happened and change nothing.

It may use the values of every other room and Powertools. It offers `logs.logger`, the one logger, and the observers
`logs.Logs` and `metrics.Metrics`.
"""
