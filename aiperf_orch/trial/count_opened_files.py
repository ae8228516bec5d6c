"""Count the files that a process opens; the script `python count_opened_files.py MODULE` prints the count of an import.

Files that Python opens and compiled modules count; shared libraries that a compiled module loads do not. This module
imports nothing itself, since files opened before the count begins are missed.
"""

import sys


class OpenedFiles:
    """Count opened files from now on, by an audit hook that stays until the process ends."""

    def __init__(self) -> None:
        self.count = 0
        sys.addaudithook(self._audit)

    def _audit(self, event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" or (event == "import" and arguments[1] is not None):
            self.count += 1


if __name__ == "__main__":
    opened = OpenedFiles()
    __import__(sys.argv[1])
    print(opened.count)
