"""What a handler may do to its process; each test copies this beside the app of a framework."""
import ctypes
import os
import threading
import time

INSTANCE = os.environ.get("COPPICE_INSTANCE_ID", "local")
# Functions called through it keep the interpreter's lock, as some extensions do: nothing else of the process runs.
_holding_the_lock = ctypes.PyDLL(None)


def work(how: str, run: str) -> None:
    """Prints the id of the run, so that the log tells how often it was begun, and then is busy."""
    print(f"RUN {run}", flush=True)
    match how:
        case "block":
            time.sleep(6)
        case "freeze":
            _holding_the_lock.sleep(6)
        case "compute":
            end = time.monotonic() + 20
            while time.monotonic() < end:
                sum(range(10_000))
        case "deadlock":
            lock = threading.Lock()
            lock.acquire()
            lock.acquire()
        case "freeze-for-ever":
            while True:
                _holding_the_lock.sleep(3600)
        case "nap":
            time.sleep(1.5)
    print(f"DONE {run}", flush=True)
