"""What the check-* scripts share: the C files of the tree, and their code without comments and strings."""
import pathlib
import re
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent

_NOISE = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def files(*folders, suffixes=(".c", ".h")):
    """Paths below the folders, relative to the checkout, sorted; what git ignores is left out."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "--", *folders], cwd=TOP,
                            capture_output=True, text=True, check=True).stdout.splitlines()
    return sorted(name for name in listed if name.endswith(suffixes) and (TOP / name).is_file())


def read(name):
    return (TOP / name).read_text(encoding="utf-8")


def _blank(match):
    text = match.group()
    if text[0] in "\"'":
        return text[0] + " " * (len(text) - 2) + text[-1]
    return re.sub(r"[^\n]", " ", text)


def bare(text):
    """The same text, line for line, with comments and the insides of literals blanked."""
    return _NOISE.sub(_blank, text)


def report(check, findings, summary):
    """Prints the findings and the one summary line; exits 1 where there was one."""
    for finding in findings:
        print(finding)
    print(f"{check}: {'FAILED, ' if findings else ''}{summary}")
    sys.exit(1 if findings else 0)
