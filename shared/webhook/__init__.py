"""The webhook endpoint takes requests over HTTP and puts them on the queue.

It authenticates the sender, reads the HTTP binding of CloudEvents, and validates the content with the inbox's reader;
202 means that everything is in the queue. If verdicts are stored, it also reports what became of a request. It may
import `inbox`, `signatures`, the ports `Queue` and `VerdictStore`, `policy` and `model`, and knows neither Lambda nor
AWS. `endpoint` answers HTTP requests, `receive` decides about one, `status` reports on one, and `responses` has the
bodies of answers.
"""
