"""Commands: one module a command, one function of parsed arguments that returns a `CommandOutput` or raises."""
