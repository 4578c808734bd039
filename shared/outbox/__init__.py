"""The outbox sends everything that leaves, before the deadline and in the one right order.

Verdicts go to the bus, then to the consumers beside it, then continuations and waiting deliveries to the queue; the
receipts say which messages may be acknowledged. It may use the ports `Bus`, `Queue` and `Consumer`, `inbox`,
`decision`, `policy` and `model`. It offers `outbox.Outbox` and `Outlets`, `dead_letters.DeadLetters`,
`observer.Observer`, and the events themselves (`events`, `verdict`, `reasons`). One consumer lives here, `http_sink`.
"""
