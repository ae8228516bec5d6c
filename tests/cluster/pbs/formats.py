"""Formats of OpenPBS: dates, durations, sizes, and the text of `qstat -f`."""

import time

# order of the attributes in qstat -f
ORDER = [
    "Job_Name",
    "Job_Owner",
    "resources_used",
    "job_state",
    "queue",
    "server",
    "Account_Name",
    "Checkpoint",
    "ctime",
    "depend",
    "Error_Path",
    "exec_host",
    "exec_vnode",
    "Hold_Types",
    "Join_Path",
    "Keep_Files",
    "Mail_Points",
    "Mail_Users",
    "mtime",
    "Output_Path",
    "Priority",
    "qtime",
    "Rerunable",
    "Resource_List",
    "stime",
    "obittime",
    "session_id",
    "Shell_Path_List",
    "jobdir",
    "substate",
    "Variable_List",
    "comment",
    "etime",
    "umask",
    "run_count",
    "Stageout_status",
    "Exit_status",
    "Submit_arguments",
    "executable",
    "argument_list",
    "history_timestamp",
    "project",
    "Submit_Host",
]
_POSITIONS = {name: position for position, name in enumerate(ORDER)}
TIMES = frozenset({"ctime", "mtime", "qtime", "stime", "obittime", "etime"})

_UNITS = {"b": 1, "kb": 2**10, "mb": 2**20, "gb": 2**30, "tb": 2**40, "pb": 2**50}


def date(seconds):
    """Format seconds since 1970 as `Mon Nov 23 13:36:50 2026`."""
    return time.ctime(seconds)


def date_in_comment(seconds):
    """Format seconds since 1970 as `Mon Nov 23 at 13:36`."""
    return time.strftime("%a %b %d at %H:%M", time.localtime(seconds))


def duration(seconds):
    """Format seconds as HH:MM:SS."""
    seconds = int(seconds)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def parse_duration(text):
    """Parse `90`, `1.5`, `MM:SS` or `HH:MM:SS` into seconds; None if it is malformed."""
    parts = text.split(":")
    whole, _, fraction = parts[-1].partition(".")
    parts[-1] = whole
    if len(parts) > 3 or not all(_is_number(part) for part in parts) or (fraction and not _is_number(fraction)):
        return None
    seconds = 0
    for part in parts:
        seconds = seconds * 60 + int(part)
    return seconds


def parse_size(text):
    """Parse a size such as `100mb`, `1G` or `10` (bytes) into number and unit (`kb`, ...); None if it is malformed."""
    number = text.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    unit = text[len(number) :].lower()
    if unit in ("k", "m", "g", "t", "p"):
        unit += "b"
    unit = unit or "b"
    if not _is_number(number) or unit not in _UNITS:
        return None
    return int(number), unit


def in_kilobytes(size):
    """Round a parsed size up to whole kb."""
    number, unit = size
    return -(-number * _UNITS[unit] // 1024)


def _is_number(text):
    return text.isascii() and text.isdigit()


def job_text(job_id, attributes, wrap=True):
    """Format a job as `qstat -f` does, with the empty line after it."""
    lines = [f"Job Id: {job_id}"]
    for name in sorted(attributes, key=lambda name: _POSITIONS[name.partition(".")[0]]):
        value = attributes[name]
        lines.append(attribute_text(name, date(value) if name in TIMES else str(value), wrap))
    return "\n".join(lines) + "\n\n"


def attribute_text(name, value, wrap=True):
    """Format `    name = value` with the line breaks of qstat: at commas if that is enough, else after column 78."""
    text = f"    {name} = "
    if not wrap:
        return text + value
    column = len(text)
    pieces = value.split(",")
    for index, piece in enumerate(pieces):
        if column + len(piece) < 79:
            text += piece
            column += len(piece)
        else:
            if index:
                text += "\n\t"
                column = 8
            for character in piece:
                text += character
                column += 1
                if column > 78:
                    text += "\n\t"
                    column = 8
        if index < len(pieces) - 1:
            text += ","
            column += 1
    return text
