"""The decision says what to do next with a case: send the DELETE, look again later, or conclude.

It is pure: values in, values out, no I/O, no clock, no chance. It may use `model` and `policy` and nothing else. It
offers the `Case` and what can come of it (`case`), the table of rules (`rules.decide`), the safety gates before a
DELETE (`gates`), when a case comes back (`requeue`), and how late a verdict is (`overdue`). What travels from look to
look is in `progress`.
"""
