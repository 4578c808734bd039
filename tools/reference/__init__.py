"""What an operator looks up: the stack's parameters, its log messages and metrics, the permissions of the commands."""
