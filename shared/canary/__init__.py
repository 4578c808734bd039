"""The canary sends a dry run of its own and waits for its verdict; if none comes, it names the stage that failed.

`run` sends and waits, `stages` makes a failure of what was seen. It may use `ports`, `model`, `policy` and the names of
`decision`, and knows neither Lambda nor AWS.
"""
