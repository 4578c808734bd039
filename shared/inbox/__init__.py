"""The inbox turns a queue message into cases, or into a list of everything that is wrong with it.

It opens envelopes (SNS, EventBridge, CloudEvents, also nested), validates the request, and reads the messages that we
send to ourselves. It knows neither the cloud nor AWS: text in, values out. It may import `decision`'s values,
`own_messages`, `policy` and `model`. `read.read` returns a list of cases, a group, a waiting delivery, a rejection with
every fault, or a message to ignore. The webhook uses `read.requests_in`.
"""
