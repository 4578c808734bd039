"""The canary sends a dry run and waits for its verdict; if none comes, it names the stage that failed.

`run` sends and waits, `stages` derives a failure from what was seen. It may import `ports`, `model`, `policy` and names
of `decision`, and knows neither Lambda nor AWS.
"""
