"""The product, apart from Lambda's event shapes (`functions`). A request goes one way: inbox, visit, outbox.

`service.handle` reads each message through the `inbox`, has the servers of the cases in them visited (`visit`, which
asks `decision` what to do), and sends what comes of it through the `outbox`. `webhook` takes requests over HTTP and
puts them on the queue. `cloud` and `aws` are the outside, behind the Protocols of `ports`; `telemetry` observes;
`bootstrap` wires. `model`, `policy`, `ports`, `settings`, `own_messages`, `signatures` and `strict_json` are spoken
by several of them. docs/architecture.md shows the way of one request.
"""
