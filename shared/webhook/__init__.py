"""The webhook endpoint takes requests over HTTP and puts them on the queue.

It authenticates the sender, opens the HTTP binding of CloudEvents, and has the inbox's own reader validate what is in
it; 202 means that everything is in the queue. Where verdicts are kept, it also tells what became of a request. It may
use `inbox`, `signatures`, the ports `Queue` and `VerdictStore`, `policy` and `model`, and knows neither Lambda nor AWS.
It offers `endpoint`, which answers an HTTP request, `receive`, which decides about one, `status`, which says what is
known of one, and `responses`, the bodies of answers.
"""
