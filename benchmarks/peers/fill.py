"""Puts a number of applications into the queue of a peer: `python -m benchmarks.peers.fill huey_app 2000`."""

import importlib
import sys

from benchmarks.peers.post import applications

if __name__ == "__main__":
    peer = importlib.import_module(f"benchmarks.peers.{sys.argv[1]}")
    for operation, payload in applications(int(sys.argv[2])):
        peer.enqueue(operation, payload)
