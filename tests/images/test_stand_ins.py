"""Test that our replacement for PostgreSQL's image accepts the same clients: run its script with this machine's PostgreSQL."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import pytest

SCRIPT = Path(__file__).parents[2] / "docker" / "stand-ins" / "postgres.sh"
RULE = "host all all all scram-sha-256"
"""The line that the official image's docker-entrypoint.sh adds to pg_hba.conf by default, since PostgreSQL 14."""
PASSWORD = "for the 'test' $HOME"
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class Server:
    """A PostgreSQL server that the script has started."""

    port: int
    addresses: tuple[str, ...]  # it listens on these: loopback first, then this machine's address in its network, if it has any
    hba: str  # the text of pg_hba.conf

    def query(self, address: str, sql: str, password: str = PASSWORD) -> list[Any]:
        """Return the rows of a query from a client that connects to this address, and therefore has the same address itself."""
        connection = psycopg2.connect(
            host=address, port=self.port, user="mlflow", password=password, dbname="runs", connect_timeout=10
        )
        try:
            with connection.cursor() as cursor:
                cursor.execute(sql)
                return list(cursor.fetchall())
        finally:
            connection.close()


def addresses_of_this_machine() -> Iterator[str]:
    """Yield loopback, and the address from which this machine would reach others. No packet is sent to find it."""
    yield "127.0.0.1"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # an address for documentation
        except OSError:
            return
        address = str(probe.getsockname()[0])
    if not address.startswith("127."):
        yield address


def skip_unless_postgresql_can_be_started() -> None:
    if len(list(Path("/usr/lib/postgresql").glob("*/bin/initdb"))) != 1:
        pytest.skip("the script needs exactly one release of PostgreSQL in /usr/lib/postgresql (Debian's package postgresql)")
    user = "postgres" if os.geteuid() == 0 else str(pwd.getpwuid(os.geteuid()).pw_name)
    sockets = Path("/var/run/postgresql")
    if not sockets.is_dir() or (user != sockets.owner() and not os.access(sockets, os.W_OK)):
        pytest.skip(f"{user} cannot create sockets in {sockets}, which the script does")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Start the replacement for PostgreSQL in an empty folder, as its container does, but on another port."""
    skip_unless_postgresql_can_be_started()
    folder = Path(tempfile.mkdtemp(prefix="tuneoff-stand-in-"))  # pytest closes its own folders to other users
    addresses = tuple(addresses_of_this_machine())
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = int(listener.getsockname()[1])
    user: dict[str, Any] = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        user["user"] = "postgres"
        shutil.chown(folder, "postgres", "postgres")
    environment = {
        "PATH": os.environ["PATH"],
        "TMPDIR": str(folder),
        "PGDATA": str(folder / "data"),
        "PGPORT": str(port),  # also for the script's own client and its socket, so that no other server is in the way
        "POSTGRES_USER": "mlflow",
        "POSTGRES_PASSWORD": PASSWORD,
        "POSTGRES_DB": "runs",
    }
    arguments = ["-c", f"listen_addresses={','.join(addresses)}", "-c", "fsync=off"]
    with (folder / "log").open("wb") as log:
        command = ["sh", "-c", SCRIPT.read_text(), "start-postgres", *arguments]
        process = subprocess.Popen(command, env=environment, cwd="/", stdout=log, stderr=log, **user)
    try:
        wait_for(port, process, folder / "log")
        yield Server(port, addresses, (folder / "data" / "pg_hba.conf").read_text())
    finally:
        process.terminate()
        process.wait(PATIENCE_SECONDS)
        shutil.rmtree(folder)


def wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    pytest.fail(f"PostgreSQL does not listen on port {port}: {log.read_text()}")


def test_the_script_adds_the_rule_of_the_official_image_once() -> None:
    """This test runs everywhere, even without PostgreSQL."""
    lines = [line.strip() for line in SCRIPT.read_text().splitlines() if not line.strip().startswith("#")]
    (added,) = [n for n, line in enumerate(lines) if RULE in line]
    assert lines[added].endswith('>> "$PGDATA/pg_hba.conf"')
    (made,) = [n for n, line in enumerate(lines) if '/initdb"' in line]
    (started,) = [n for n, line in enumerate(lines) if '/pg_ctl"' in line and line.endswith("start")]
    assert made < added < started < lines.index("fi"), "an existing database keeps its rules, and a new one starts with them"


def test_the_last_rule_accepts_every_client_with_a_password(server: Server) -> None:
    assert server.hba.splitlines()[-1] == RULE
    rows = server.query("127.0.0.1", "SELECT type, database, user_name, address, auth_method, error FROM pg_hba_file_rules")
    assert rows[-1] == ("host", ["all"], ["all"], "all", "scram-sha-256", None), "`all` is every IPv4 and IPv6 address"
    assert [row for row in rows if row[-1] is not None] == []


def test_a_client_outside_loopback_needs_its_password(server: Server) -> None:
    """MLflow's pod is such a client. It was once refused with `no pg_hba.conf entry for host`."""
    if len(server.addresses) == 1:
        pytest.skip("this machine has no address but loopback")
    address = server.addresses[1]
    assert server.query(address, "SELECT host(inet_client_addr()), current_database()") == [(address, "runs")]
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        server.query(address, "SELECT 1", password="another")


def test_a_client_on_loopback_needs_the_password_too(server: Server) -> None:
    assert server.query("127.0.0.1", "SELECT current_user") == [("mlflow",)]
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        server.query("127.0.0.1", "SELECT 1", password="another")
