"""The outbox sends everything that leaves, before the deadline and in the one right order.

Verdicts go to the bus, then continuations to the queue, then verdicts to the consumers beside the bus, then waiting
deliveries to the queue; the receipts say which messages may be acknowledged. It may use the ports `Bus`, `Queue` and
`Consumer`, `inbox`, `decision`, `policy` and `model`. It offers `outbox.Outbox` and `Outlets`,
`dead_letters.DeadLetters`, `observer.Observer`, and the events themselves (`events`, `verdict`, `reasons`). One
consumer lives here, `http_sink`.
"""
