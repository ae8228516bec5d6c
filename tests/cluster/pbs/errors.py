"""Errors of the commands: messages and exit statuses (PBS error number & 255) of the real ones."""

UNKNOWN_JOB, ALREADY_FINISHED, UNAUTHORIZED, BAD_STATE = 153, 35, 159, 168


class CommandError(Exception):
    """Error of a command: `text` for stderr, `output` for stdout, and the exit status."""

    def __init__(self, text, status, output=""):
        super().__init__(text)
        self.text, self.status, self.output = text, status, output


def not_supported(what):
    """Make the error for a feature that the stand-in does not support, with an exit status that fails a test."""
    return CommandError(f"PBS stand-in: not supported: {what}\n", 99)


def server_down(command, server):
    """Make the error of a command when the port of the server is closed."""
    if command == "qdel":
        return CommandError(f"Connection refused\nCouldn't connect to cluster: {server}\n", 162)
    if command == "pbsnodes":
        return CommandError(f"Connection refused\npbsnodes: cannot connect to server {server}, error=15010\n", 1)
    status = 255 if command == "qstat" else 162
    return CommandError(f"Connection refused\n{command}: cannot connect to server {server} (errno=15010)\n", status)
