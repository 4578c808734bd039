"""The composition roots, one for each function: they wire settings and adapters on first use and keep the result.

Only handlers import them, and only they know which adapters exist. Each has a function for the handler
(`detach.service`, `webhook.webhook_endpoint`, `dead_letters.dead_letters`, `canary.canary`), and a `build…` that takes
an environment, for tests and the local stack.
"""
