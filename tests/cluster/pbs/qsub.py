"""Command qsub: options and directives, checks, and creation of the job."""

import os
import sys
import time

from pbs import dependencies, outputs, server
from pbs.errors import CommandError, not_supported
from pbs.formats import parse_duration
from pbs.resources import parse_request

USAGE = """\
usage: qsub [-a date_time] [-A account_string] [-c interval]
	[-C directive_prefix] [-e path] [-f ] [-h ] [-I [-X]] [-j oe|eo] [-J X-Y[:Z]]
	[-k keep] [-l resource_list] [-m mail_options] [-M user_list]
	[-N jobname] [-o path] [-p priority] [-P project] [-q queue] [-r y|n]
	[-R o|e|oe] [-S path] [-u user_list] [-W otherattributes=value...]
	[-v variable_list] [-V ] [-z] [script | -- command [arg1 ...]]
       qsub --version
"""
_WITH_VALUE, _ALONE = "aAcCejJklmMNopPqrRSuvW", "fhIVXz"
_PRIORITIES = range(-1024, 1024)
_NOT_IMITATED = [
    "block",
    "group_list",
    "sandbox",
    "stagein",
    "stageout",
    "run_count",
    "release_nodes_on_stageout",
]
_TOLERATED = ("none", "job_start", "all")
"""Values of tolerate_node_failures. Not recorded: a job of the stand-in never ends with one of its further nodes."""


def qsub(store, arguments):
    """Submit a job, and print its id."""
    options, operands, command = _parse(arguments, "")
    script, name = (b"", os.path.basename(command[0])) if command else _read_script(operands)
    for line in _directives(script):
        try:
            given, rest, _ = _parse(line, "directive")
        except _UnknownError as unknown:
            raise CommandError(f"{unknown.text}qsub: directive error: {' '.join(line)} \n", 1) from None
        if rest:
            raise CommandError(f"qsub: directive error: {' '.join(line)} \n", 1)
        options = _merge(given, options)
    job = _make(options, script, command, name, arguments)
    with server.opened(store, "qsub", settled=False):
        _accept(store, job, options)
        store.save(job)
        if "depend" in options.get("W", {}):
            dependencies.register(store, job, options["W"]["depend"])
        server.settle(store)
    return ("" if "z" in options else f"{job['id']}\n"), 0


class _UnknownError(CommandError):
    pass


def _parse(words, where):
    """Parse words into options by letter, operands, and the command after `--`."""
    options, words = {}, list(words)
    while words and words[0].startswith("-") and words[0] != "-":
        word = words.pop(0)
        if word == "--":
            return options, [], words
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            if letter in _ALONE:
                options[letter] = ""
            elif letter in _WITH_VALUE and (letters or words):
                value, letters = letters or words.pop(0), ""
                options = _merge(options, {letter: _checked(letter, value)})
            else:
                text = f"qsub: invalid option -- '{letter}'\n"
                raise _UnknownError(text if where else text + USAGE, 2)
    return options, words, []


def _merge(first, second):
    """Merge options: the second wins; options with several names are merged by name."""
    merged = first | second
    for letter in "lWv":
        if letter in first and letter in second:
            merged[letter] = first[letter] | second[letter]
    return merged


def _illegal(letter):
    return CommandError(f"qsub: illegal -{letter} value\n{USAGE}", 2)


def _checked(letter, value):
    """Check the value of an option as the client does, and return it."""
    choices = {
        "r": ("y", "n"),
        "j": ("oe", "eo", "n"),
        "k": ("n", "o", "e", "oe", "eo", "d", "od", "ed", "oed", "eod", "doe"),
    }
    if value not in choices.get(letter, (value,)):
        raise _illegal(letter)
    if letter == "m" and not (value == "n" or set(value) <= set("abe")):
        raise _illegal(letter)
    if letter == "p" and not (value.lstrip("-").isdigit() and int(value) in _PRIORITIES):
        raise _illegal(letter)
    if letter == "S" and not value.startswith("/"):
        raise _illegal(letter)
    if letter == "N":
        if not value or not all(each.isascii() and (each.isalnum() or each in "_.+-") for each in value):
            raise _illegal(letter)
        if len(value) > 230:
            raise CommandError("qsub: Job name is too long \n", 2)
    if letter in "oe" and ":" in value:
        host, _, value = value.partition(":")
        if host != "localhost":
            raise _illegal(letter)
    if letter in "lW":
        pairs = {}
        for part in value.split(","):
            name, equals, text = part.partition("=")
            if not equals or not name:
                raise _illegal(letter)
            pairs[name] = text
        if letter == "W":
            for name in pairs.keys() - {"umask", "depend", "tolerate_node_failures"}:
                if name not in _NOT_IMITATED:
                    raise CommandError("qsub: Bad UID for job execution\n", 154)  # a real one says so
                raise not_supported(f"qsub -W {name}")
            if not set(pairs.get("umask", "")) <= set("01234567"):
                raise not_supported("a umask that is not octal")
            if pairs.get("tolerate_node_failures", "none") not in _TOLERATED:
                raise _illegal("W")
            if "depend" in pairs and not dependencies.is_dependency(pairs["depend"]):
                raise _illegal("W")
        return pairs
    return _variables(value) if letter == "v" else value


def _variables(text):
    """Parse `A=b,C` into a dict; only simple values, since the real qsub damages others."""
    if any(each in text for each in "\"'\\"):
        raise not_supported("quotes and backslashes in qsub -v")
    variables = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if not equals and name not in os.environ:
            raise CommandError("qsub: cannot send environment with the job\n", 1)
        variables[name] = value if equals else os.environ[name]
    return variables


def _read_script(operands):
    """Read the script, and return it with the name of the job."""
    if len(operands) > 1:
        raise CommandError(USAGE, 2)
    if not operands or operands == ["-"]:
        return _usable(sys.stdin.buffer.read()), "STDIN"
    try:
        with open(operands[0], "rb") as file:
            return _usable(file.read()), os.path.basename(operands[0])
    except IsADirectoryError:
        raise CommandError("qsub: script not a file\n", 1) from None
    except OSError as error:
        raise CommandError(f"qsub: script file:: {error.strerror}\n", 1) from None


def _usable(script):
    if b"\r\n" in script:
        raise CommandError("qsub: script contains cr, lf\n", 1)
    return script


def _directives(script):
    """Split each `#PBS` line before the first command into words."""
    for line in os.fsdecode(script).split("\n"):
        line = line.strip()
        if line.startswith("#PBS"):
            yield _words(line[4:])
        elif line and not line.startswith(("#", ":")):
            return


def _words(text):
    """Split a text as qsub does: at blanks outside of quotes."""
    words, word, quote = [], None, ""
    for character in text:
        if quote:
            if character == quote:
                quote = ""
            else:
                word += character
        elif character in "\"'":
            word, quote = word or "", character
        elif character.isspace():
            if word is not None:
                words.append(word)
            word = None
        else:
            word = (word or "") + character
    return words if word is None else [*words, word]


def _make(options, script, command, name, arguments):
    """Make the job as the client sends it."""
    if "I" in options:
        raise CommandError("qsub:\tstandard input and output must be a terminal for\n\tinteractive job submission\n", 1)
    for letter in "aJ":
        if letter == "J" and options.get("r") == "n" and letter in options:
            raise CommandError(f"qsub:  cannot submit non-rerunable Array Job\n{USAGE}", 2)
        if letter in options:
            raise not_supported(f"qsub -{letter}")
    others = options.get("W", {})
    environment = {
        f"PBS_O_{key}": os.environ[key] for key in ("HOME", "LANG", "LOGNAME", "PATH", "SHELL") if key in os.environ
    }
    environment |= {
        "PBS_O_INTERACTIVE_AUTH_METHOD": "resvport",
        "PBS_O_INTERACTIVE_ENCRYPT_METHOD": "",
        "PBS_O_WORKDIR": os.getcwd(),
        "PBS_O_SYSTEM": "Linux",
        **options.get("v", {}),
        **({key: value for key, value in os.environ.items() if key != "PBS_JOBCOOKIE"} if "V" in options else {}),
    }
    attributes = {
        "Job_Name": options.get("N", name),
        "Checkpoint": options.get("c", "u"),
        "Hold_Types": "u" if "h" in options else "n",
        "Join_Path": options.get("j", "n"),
        "Keep_Files": options.get("k", "n"),
        "Mail_Points": options.get("m", "a"),
        "Priority": int(options.get("p", 0)),
        "Rerunable": "False" if options.get("r") == "n" else "True",
        "Submit_arguments": " ".join(arguments),
        "project": options.get("P", "_pbs_project_default"),
    }
    if command:
        attributes["executable"] = f"<jsdl-hpcpa:Executable>{command[0]}</jsdl-hpcpa:Executable>"
        listed = "".join(f"<jsdl-hpcpa:Argument>{word}</jsdl-hpcpa:Argument>" for word in command[1:])
        attributes |= {"argument_list": listed} if listed else {}
    for letter, attribute in (("A", "Account_Name"), ("S", "Shell_Path_List"), ("M", "Mail_Users")):
        if letter in options:
            attributes[attribute] = options[letter]
    if "umask" in others:
        attributes["umask"] = int(others["umask"])
    return {
        "attributes": attributes,
        "environment": environment,
        "script": script,
        "command": command,
        "shell": options.get("S", "/bin/bash"),
        "umask": int(others.get("umask", "077"), 8),
        "mom_command": None,
        "supervisor": None,
        "session": None,
        "allocation": [],
    }


def _accept(store, job, options):
    """Check the job, and add the attributes that the server sets."""
    settings, attributes = store.settings, job["attributes"]
    name, at, host = options.get("q", "workq").partition("@")
    if at and host != settings["server"]:
        raise CommandError(f"Unknown Host.\nqsub: cannot connect to server {settings['server']} (errno=15008)\n", 160)
    if options.get("u", settings["user"]) != settings["user"]:
        raise CommandError("qsub: Bad UID for job execution\n", 175)
    if name not in settings["queues"]:
        raise CommandError("qsub: Unknown queue\n", 170)
    queue = settings["queues"][name]
    listed, job["chunks"], job["place"] = parse_request(options.get("l", {}))
    if not queue["enabled"]:
        raise CommandError("qsub: Queue is not enabled\n", 173)
    if queue["users"] is not None and settings["user"] not in queue["users"]:
        raise CommandError("qsub: Unauthorized Request \n", 159)
    _check_limits(store, queue, listed)
    now, sequence = int(time.time()), store.next_sequence()
    held = attributes["Hold_Types"] != "n"
    job |= {"seq": sequence, "id": f"{sequence}.{settings['server']}"}
    job["environment"] |= {"PBS_O_QUEUE": name, "PBS_O_HOST": settings["host"]}
    shown = [f"{key}={_escaped(value)}" for key, value in job["environment"].items()]
    paths = [_output_path(job, options, letter) for letter in "eo"]
    attributes |= listed | {
        "Job_Owner": f"{settings['user']}@{settings['host']}",
        "job_state": "H" if held else "Q",
        "substate": 20 if held else 10,
        "queue": name,
        "server": settings["server"],
        "ctime": now,
        "qtime": now,
        "Error_Path": f"{settings['host']}:{paths[0]}",
        "Output_Path": f"{settings['host']}:{paths[1]}",
        "Variable_List": ",".join(shown),
        "Submit_Host": settings["host"],
    }
    if not held:
        attributes["etime"] = now
    outputs.plan(store, job, paths)


def _escaped(value):
    for character in "\\,'\"":
        value = value.replace(character, f"\\{character}")
    return value


def _check_limits(store, queue, listed):
    longest, most = queue["max_walltime"], queue["max_ncpus"]
    walltime = listed.get("Resource_List.walltime")
    too_long = longest is not None and walltime is not None and parse_duration(walltime) > longest
    if too_long or (most is not None and listed["Resource_List.ncpus"] > most):
        raise CommandError("qsub: Job violates queue and/or server resource limits\n", 188)
    jobs = store.jobs()
    if store.settings["max_queued"] is not None and len(jobs) >= store.settings["max_queued"]:
        raise CommandError("qsub: would exceed complex's per-user limit\n", 38)
    inside = sum(store.settings["queues"][job["attributes"]["queue"]] is queue for job in jobs)
    if queue["max_queued"] is not None and inside >= queue["max_queued"]:
        raise CommandError("qsub: would exceed queue generic's per-user limit\n", 38)


def _output_path(job, options, letter):
    """Absolute path of the output to stdout (`o`) or stderr (`e`)."""
    default = f"{job['attributes']['Job_Name']}.{letter}{job['seq']}"
    return os.path.join(job["environment"]["PBS_O_WORKDIR"], options.get(letter, default))
