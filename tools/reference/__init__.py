"""Printed references for operators: the stack's parameters, its log messages and metrics, the commands' permissions."""
