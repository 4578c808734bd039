"""The composition roots, one for each function: settings and adapters, wired on first use and kept.

Nobody but the handlers imports them, and they alone know which adapters there are. They offer `detach.service`,
`webhook` and `dead_letters.dead_letters`, and for tests and the local stack a `build` each that takes an environment.
"""
