"""Decides the next step of a case: send the DELETE, look again later, or conclude.

It is pure: values in, values out, no I/O, no clock, no randomness. It may import only `model` and `policy`. It offers
the `Case` and its possible results (`case`), the table of rules (`rules.decide`), the safety gates before a DELETE
(`gates`), when a case returns (`requeue`), and how late a verdict is (`overdue`). `progress` holds what travels from
look to look.
"""
