"""Which bodies ran: a file in the working folder, as workers write to it, too."""

from pathlib import Path

RAN = Path.cwd() / "ran.txt"


def ran(what: str) -> None:
    """Say that the body of a cached function runs."""
    with RAN.open("a") as file:
        file.write(f"{what}\n")


def drain() -> list[str]:
    """The bodies that ran since the last time."""
    lines = RAN.read_text().splitlines() if RAN.exists() else []
    RAN.unlink(missing_ok=True)
    return lines
