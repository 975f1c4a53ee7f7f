"""How long answers for films take: the first, one more, and a folder against the network alone.

    python benchmarks/one_film.py RUN_FOLDER FILMS_FOLDER

Without both it is skipped: a run is trained by notebook 200.
"""

import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

MOST = 1000


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
    from cxr.modelling.tensors import tf

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
    batch = tf.constant(np.zeros((predict.BATCH, model.size, model.size, 1), np.uint8))
    model._forward(batch)
    began = time.monotonic()
    for _ in range(30):
        model._forward(batch).numpy()
    alone = 30 * predict.BATCH / (time.monotonic() - began)
    print(f"a folder of {count:,}         {ours:8.0f} films/s")
    print(f"the network alone         {alone:8.0f} films/s, ratio {ours / alone:.2f}")
    print(f"memory grown over {count:,}   {grown / 1024:8.0f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
