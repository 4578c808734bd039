"""The outbox sends everything that leaves the service, in order and before the deadline.

First verdicts to the bus, then continuations to the queue, then verdicts to the other consumers, and then waiting
deliveries to the queue. Receipts say which messages may be acknowledged. It may import the ports `Bus`, `Queue` and
`Consumer`, `inbox`, `decision`, `policy` and `model`. It offers `outbox.Outbox` and `Outlets`,
`dead_letters.DeadLetters`, `observer.Observer`, and the events (`events`, `verdict`, `reasons`). `http_sink` is a
consumer.
"""
