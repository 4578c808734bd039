"""The product, apart from Lambda's event shapes (`functions`).

`service.handle` reads each message through the `inbox`. `visit` reads the servers of its cases and asks `decision` what
to do. The `outbox` sends the results. `webhook` takes requests over HTTP and puts them on the queue. `cloud` and `aws`
implement the Protocols of `ports`; `telemetry` observes; `bootstrap` wires each function. Several packages use `model`,
`policy`, `ports`, `settings`, `own_messages`, `signatures` and `strict_json`. docs/architecture.md describes one
request from start to end.
"""
