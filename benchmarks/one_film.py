"""How long answers for films take: the first, one more, a folder, and visitors of the page.

A folder is timed against the network alone; on the page, eight visitors upload at once, and a
thousand requests show whether the memory grows.

    python benchmarks/one_film.py RUN_FOLDER FILMS_FOLDER

Without both it is skipped: a run is trained by notebook 200.
"""

import concurrent.futures
import http.client
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

MOST, VISITORS = 1000, 8


def main() -> int:
    if len(sys.argv) != 3:
        print("skipped: name a run's folder, and a folder of films.")
        return 0
    run, films = Path(sys.argv[1]), sorted(Path(sys.argv[2]).glob("*.png"))[:MOST]
    began = time.monotonic()
    code = (
        "import sys; from pathlib import Path; from cxr.modelling import predict\n"
        "list(predict.Model(Path(sys.argv[1])).answers([Path(sys.argv[2])]))"
    )
    subprocess.run([sys.executable, "-c", code, run, films[0]], check=True)
    print(f"one film, cold            {time.monotonic() - began:8.1f} s, interpreter included")

    from cxr.modelling import predict

    model = predict.Model(run)
    list(model.answers(films[:1]))
    began = time.monotonic()
    for film in films[1:21]:
        list(model.answers([film]))
    print(f"one film, warm            {(time.monotonic() - began) / 20 * 1000:8.0f} ms")
    list(model.answers(films[:100]))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.monotonic()
    count = sum(1 for _ in model.answers(films))
    ours = count / (time.monotonic() - began)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    batch = np.zeros((predict.BATCH, model.size, model.size, 1), np.uint8)
    model._forward(batch)
    began = time.monotonic()
    for _ in range(30):
        model._forward(batch)
    alone = 30 * predict.BATCH / (time.monotonic() - began)
    print(f"a folder of {count:,}         {ours:8.0f} films/s")
    print(f"the network alone         {alone:8.0f} films/s, ratio {ours / alone:.2f}")
    print(f"memory grown over {count:,}   {grown / 1024:8.0f} MB")
    page(model, films)
    return 0


def page(model, films: list[Path]) -> None:
    """Eight visitors at once on the page, and a thousand requests."""
    from cxr.publish import serving

    contents = [film.read_bytes() for film in films[:64]]
    server = serving.Server(model, port=0)

    def upload(number: int) -> float:
        began = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
        content = contents[number % len(contents)]
        connection.request("POST", "/film?name=film", content, {"X-Token": server.token})
        answer = connection.getresponse()
        answer.read()
        connection.close()
        assert answer.status == 200, answer.status
        return time.monotonic() - began

    def visited(number: int, visitors: int) -> tuple[np.ndarray, float]:
        began = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(visitors) as pool:
            took = np.array(list(pool.map(upload, range(number))))
        return 1000 * took, number / (time.monotonic() - began)

    with serving.running(server):
        visited(50, VISITORS)
        alone, _ = visited(40, 1)
        print(f"the page, one visitor     {np.median(alone):8.0f} ms a film")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        took, rate = visited(MOST, VISITORS)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        print(
            f"the page, {VISITORS} visitors      {np.median(took):8.0f} ms a film (95 % within "
            f"{np.quantile(took, 0.95):.0f}), {rate:.0f} films/s"
        )
        print(f"memory grown over {MOST:,}   {grown / 1024:8.0f} MB")


if __name__ == "__main__":
    sys.exit(main())
