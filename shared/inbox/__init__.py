"""The inbox turns a message of the queue into cases, or into all that is wrong with it.

It opens envelopes (SNS, EventBridge, CloudEvents, one in another), validates the request in them, and reads the
messages that we send to ourselves. It knows no cloud and no AWS: text in, values out. It may use `decision`'s values,
`own_messages`, `policy` and `model`. It offers `read.read`, whose answer is a list of cases, a waiting delivery, a
rejection with every fault, or a message to ignore; and `read.requests_in` for the webhook.
"""
