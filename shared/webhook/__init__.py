"""The webhook endpoint takes requests over HTTP and puts them on the queue.

It authenticates the sender, opens the HTTP binding of CloudEvents, and has the inbox's own reader validate what is in
it; 202 means that everything is in the queue. It may use `inbox`, `signatures`, the port `Queue`, `policy` and
`model`, and knows neither Lambda nor AWS. It offers `endpoint`, which answers an HTTP request, `receive`, which
decides about one, and `responses`, the bodies of answers.
"""
