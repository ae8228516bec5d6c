"""How a command fails: what real ones print and exit with (the exit status is the PBS error & 255)."""

UNKNOWN_JOB, ALREADY_FINISHED, UNAUTHORIZED, BAD_STATE = 153, 35, 159, 168


class Refusal(Exception):
    """Ends a command: `text` goes to stderr as it is, `output` to stdout, `status` is the exit status."""

    def __init__(self, text, status, output=""):
        super().__init__(text)
        self.text, self.status, self.output = text, status, output


def not_imitated(what):
    """For a use of a real command that the stand-in does not know: a test must notice."""
    return Refusal(f"PBS stand-in: not imitated: {what}\n", 99)


def server_down(command, server):
    """What `command` says when nobody listens at the server's port."""
    if command == "qdel":
        return Refusal(f"Connection refused\nCouldn't connect to cluster: {server}\n", 162)
    if command == "pbsnodes":
        return Refusal(f"Connection refused\npbsnodes: cannot connect to server {server}, error=15010\n", 1)
    status = 255 if command == "qstat" else 162
    return Refusal(f"Connection refused\n{command}: cannot connect to server {server} (errno=15010)\n", status)
