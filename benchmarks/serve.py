"""What `mien serve` bears: many clients, batching on and off, one client and eight, memory, a kill, a stream.

    python benchmarks/serve.py
    python benchmarks/serve.py --items 2,3 --rounds 5 --json serve.json

Clients run in this process and the server in its own, on the same processor; so a rate here is that of a
machine that does both. What is compared takes turns; a ratio is the median over the rounds, with its range.
The items:

1. 64 clients for 60 s, half with cropped faces, half with pictures of 640 x 480: answers by status, p50, p99
   (the deadline is 10 s).
2. Cropped faces with `--batch 32` to `--batch 1`, 16 and 64 clients: answers a second, and the server's
   processor time for an answer.
3. Pictures of 640 x 480, eight clients to one.
4. Memory over 10 minutes under the load of item 1.
5. Killed in the middle of the load of item 1 and started again: seconds to the first answer about a picture.
6. Frames a second of one live stream at 640 x 480, two in flight.
"""

from __future__ import annotations

import argparse
import json
import statistics
import threading
import time
from pathlib import Path
from typing import Any

from serve_load import Server, face_png, load, picture_jpeg, serving, stream_rate

CROPPED, WHOLE = "/v1/predict?faces=cropped", "/v1/predict"
BATCHING, EIGHT_TO_ONE, RESTART_SECONDS, FRAMES_A_SECOND = 1.3, 1.6, 2.0, 15.0
"""Targets."""
GROWTH_MB = 10.0
"""Memory may grow by so much from the second fifth of the time to the last."""


def many_clients(seconds: float) -> dict[str, Any]:
    """Item 1."""
    with serving() as server:
        results = mixed_load(server, seconds)
    for name, seen in results.items():
        print(seen.say(f"  {name}"))
    return {
        name: {
            "rate": seen.rate,
            "p50": seen.percentile(50),
            "p99": seen.percentile(99),
            "statuses": dict(seen.statuses),
            "unexplained": seen.unexplained[:5],
        }
        for name, seen in results.items()
    }


def mixed_load(server: Server, seconds: float, *, forgiving: bool = False) -> dict[str, Any]:
    """32 clients with cropped faces and 32 with whole pictures at a time."""
    results: dict[str, Any] = {}

    def run(name: str, path: str, body: bytes) -> None:
        results[name] = load(server.port, path, [body], clients=32, seconds=seconds, forgiving=forgiving)

    threads = [
        threading.Thread(target=run, args=("cropped faces", CROPPED, face_png())),
        threading.Thread(target=run, args=("whole pictures", WHOLE, picture_jpeg())),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def batching(rounds: int, seconds: float) -> dict[str, Any]:
    """Item 2."""
    face = [face_png()]
    found: dict[str, Any] = {}
    with serving("--batch", "32") as on, serving("--batch", "1") as off:
        for clients in (16, 64):
            ratios, costs = [], []
            for _ in range(rounds):
                rates, cpu = [], []
                for server in (on, off):
                    before = server.cpu_seconds
                    seen = load(server.port, CROPPED, face, clients=clients, seconds=seconds)
                    rates.append(seen.rate)
                    cpu.append(1000 * (server.cpu_seconds - before) / len(seen.latencies))
                ratios.append(rates[0] / rates[1])
                costs.append(cpu[1] / cpu[0])
                print(
                    f"  {clients} clients: {rates[0]:.0f}/s on, {rates[1]:.0f}/s off; "
                    f"{cpu[0]:.2f} and {cpu[1]:.2f} ms of processor an answer"
                )
            print(
                f"  {clients} clients: {_ratio(ratios)} (target {BATCHING}); processor time {_ratio(costs)}"
            )
            found[str(clients)] = {"rate_ratios": ratios, "processor_ratios": costs}
    return found


def eight_to_one(rounds: int, seconds: float) -> dict[str, Any]:
    """Item 3."""
    ratios = []
    with serving() as server:
        for _ in range(rounds):
            one, eight = (
                load(server.port, WHOLE, [picture_jpeg()], clients=clients, seconds=seconds).rate
                for clients in (1, 8)
            )
            ratios.append(eight / one)
            print(f"  {one:.1f}/s with one client, {eight:.1f}/s with eight")
    print(f"  {_ratio(ratios)} (target {EIGHT_TO_ONE})")
    return {"ratios": ratios}


def memory(minutes: float) -> dict[str, Any]:
    """Item 4."""
    with serving() as server:
        samples: list[float] = []
        done = threading.Event()

        def watch() -> None:
            while not done.wait(minutes * 60 / 100):
                samples.append(server.memory_mb)

        watcher = threading.Thread(target=watch)
        watcher.start()
        mixed_load(server, minutes * 60)
        done.set()
        watcher.join()
    fifth = len(samples) // 5
    early, late = statistics.median(samples[fifth : 2 * fifth]), statistics.median(samples[-fifth:])
    print(f"  {early:.0f} MB in the second fifth of {minutes:g} minutes, {late:.0f} MB in the last")
    return {"samples_mb": samples, "growth_mb": late - early}


def kill_and_restart() -> dict[str, Any]:
    """Item 5."""
    results: dict[str, Any] = {}
    server = Server()
    loaded = threading.Thread(target=lambda: results.update(mixed_load(server, 7.0, forgiving=True)))
    loaded.start()
    time.sleep(3)
    server.kill()
    again = Server(port=server.port)
    loaded.join()
    again.stop()
    seconds = min(end for seen in results.values() for end in seen.ends if end > again.began) - again.began
    print(f"  {seconds:.2f} s from the start to the first answer, under load (target {RESTART_SECONDS:g})")
    return {"seconds": seconds}


def stream(seconds: float) -> dict[str, Any]:
    """Item 6."""
    with serving() as server:
        rate, latency = stream_rate(server.port, seconds=seconds)
    print(f"  {rate:.1f} frames/s, {latency:.0f} ms each (target {FRAMES_A_SECOND:g} beside a browser)")
    return {"rate": rate, "milliseconds": latency}


def _ratio(values: list[float]) -> str:
    return f"{statistics.median(values):.2f}x ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", default="1,2,3,4,5,6")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60, help="of item 1; the others take a tenth a turn")
    parser.add_argument("--minutes", type=float, default=10, help="of item 4")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    turn = options.seconds / 10
    items = {
        "1": ("64 clients", lambda: many_clients(options.seconds)),
        "2": ("batching on to off, cropped faces", lambda: batching(options.rounds, turn)),
        "3": ("whole pictures, eight clients to one", lambda: eight_to_one(options.rounds, turn)),
        "4": ("memory", lambda: memory(options.minutes)),
        "5": ("killed and started again", kill_and_restart),
        "6": ("one live stream", lambda: stream(turn)),
    }
    found = {}
    for item in options.items.split(","):
        title, run = items[item]
        print(f"{item}. {title}")
        found[item] = run()
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
