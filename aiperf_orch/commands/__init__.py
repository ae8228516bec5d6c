"""What each command does; `cli` only parses. A module a command, imported when the command is given."""
