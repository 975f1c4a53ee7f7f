"""Several processes on this machine, as several hosts: what one process would learn."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import test_training as toy

from cxr import artifacts
from cxr.errors import InputError
from cxr.findings import FINDINGS
from cxr.modelling import hosts, launch

pytestmark = pytest.mark.slow

RUN = "runs/baseline-patient"
# 61 films in batches of 16: the last batch has 13, which no two processes share evenly.
FILMS, VALIDATION, BATCH, EPOCHS = 61, 31, 16, 3


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(folder: Path, **options) -> subprocess.Popen:
    folder.mkdir(exist_ok=True)
    script = Path(__file__).with_name("several.py")
    return subprocess.Popen(
        [sys.executable, script, folder, json.dumps(options)],
        env=os.environ | {"KERAS_BACKEND": "jax"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def start_all(folder: Path, processes: int, **options) -> list[subprocess.Popen]:
    dies = options.pop("dies", {})
    options |= {"coordinator": f"127.0.0.1:{free_port()}", "processes": processes}
    return [
        start(folder, **options, process=number, dies=dies.get(number))
        for number in range(processes)
    ]


def ended(process: subprocess.Popen, code: int = 0) -> str:
    """What a process said on its standard error; it ends with `code`."""
    _, said = process.communicate(timeout=900)
    assert process.returncode == code, said[-3000:]
    return said


def killed(processes: list[subprocess.Popen], victim: int) -> None:
    """One process dies, and the others stop within a minute, with a sentence."""
    assert "was ended by signal 9" in ended(processes[victim], code=1)
    for number, other in enumerate(processes):
        if number != victim:
            _, said = other.communicate(timeout=60)
            assert other.returncode == 1
            assert launch.LOST in said.splitlines()[-1], said[-3000:]


def drawn(folder: Path) -> Path:
    frame, _ = toy.draw(folder / "films", FILMS + VALIDATION)
    frame.to_csv(folder / "films.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """The same training by one process, and by two of which one died in the second epoch."""
    pytest.importorskip("jax", reason="JAX is not installed; run `make jax`")
    folder = drawn(tmp_path_factory.mktemp("hosts"))
    options = {"settings": {"batch_size": BATCH, "epochs": EPOCHS}, "tiny": True}
    alone = start(folder / "one", processes=1, parts=2, **options)
    killed(start_all(folder / "two", 2, **options, dies={1: [1, 1]}), victim=1)
    assert len(pd.read_csv(folder / "two" / RUN / "history.csv")) == 1
    for process in [alone, *start_all(folder / "two", 2, **options)]:
        ended(process)
    return folder / "one", folder / "two"


def test_two_processes_of_which_one_was_killed_learn_what_one_learns(roots):
    alone, shared = (pd.read_csv(root / RUN / "history.csv") for root in roots)
    assert shared["epoch"].tolist() == [1, 2, 3]
    assert alone["loss"].iloc[-1] < alone["loss"].iloc[0] / 3  # there is a curve to compare
    for column in ("loss", "val_loss", "val_auroc", "learning_rate"):
        assert shared[column].to_numpy() == pytest.approx(alone[column].to_numpy(), rel=1e-3)
    alone, shared = (pd.read_csv(root / RUN / "validation_scores.csv") for root in roots)
    assert shared["film"].tolist() == alone["film"].tolist()
    findings = list(FINDINGS)
    np.testing.assert_allclose(shared[findings], alone[findings], atol=1e-3)


def test_two_processes_make_the_scores_of_a_finished_run_anew_together(roots):
    again = shutil.copytree(roots[1], roots[1].parent / "again")
    scores = again / RUN / "validation_scores.csv"
    before = pd.read_csv(scores)
    scores.write_text("".join(scores.read_text().splitlines(keepends=True)[:9]))
    options = {"settings": {"batch_size": BATCH, "epochs": EPOCHS}, "tiny": True}
    for process in start_all(again, 2, **options):
        ended(process)
    pd.testing.assert_frame_equal(pd.read_csv(scores), before, atol=1e-6)


def seen(root: Path, process: int) -> pd.DataFrame:
    return pd.read_csv(root / f"seen-{process}.csv", names=["epoch", "film"])


def test_every_film_is_seen_once_an_epoch_over_all_processes(roots):
    films = sorted(pd.read_csv(roots[0].parent / "films.csv")["film"][:FILMS])
    both = pd.concat([seen(roots[1], process) for process in (0, 1)])
    # The second epoch was begun once more after one process died: its last steps count.
    last = both[both["epoch"] == EPOCHS - 1]
    assert sorted(last["film"]) == films
    assert sorted(both.loc[both["epoch"] == 0, "film"]) == films
    # 31 films are one process's and 30 the other's, in all epochs.
    shares = [set(seen(roots[1], process)["film"]) for process in (0, 1)]
    assert [len(share) for share in shares] == [31, 30]
    assert not shares[0] & shares[1]


def test_each_process_keeps_a_cache_of_its_own_films_only(roots):
    kept = [
        len(np.load(shard, mmap_mode="r")) for shard in roots[1].glob("data/cache/*/shard-*.npy")
    ]
    # 31 training films and 16 for validation; 30 and 15.
    assert sorted(kept) == [45, 47]


def test_what_is_kept_is_written_by_the_first_process_once(roots):
    folder = roots[1] / RUN
    assert len((folder / "training.log").read_text().splitlines()) == EPOCHS
    record = artifacts.read_json(folder / "config.json")
    assert record["finished"] and record["epochs_done"] == EPOCHS
    assert (record["backend"], record["parts"], len(record["devices"])) == ("jax", 2, 2)
    assert record["model_checksum"] == artifacts.sha256(folder / "model.keras")
    # One event file for each time that the training was begun.
    assert len(list(folder.glob("tensorboard/train/events.*"))) == 2
    assert not list(folder.glob(".*"))


def test_a_process_with_other_settings_than_the_first_is_refused(monkeypatch):
    monkeypatch.setattr(hosts, "told_record", lambda record: {"epochs": 3, "weights": None})
    hosts.agree({"epochs": 3, "weights": None})
    with pytest.raises(InputError, match=r"other settings than process 0 \(epochs is 4 here and 3"):
        hosts.agree({"epochs": 4, "weights": None})


@pytest.mark.soak
@pytest.mark.parametrize("victim", [0, 3])
def test_four_processes_of_which_any_was_killed_learn_what_one_learns(tmp_path, victim):
    pytest.importorskip("jax", reason="JAX is not installed; run `make jax`")
    drawn(tmp_path)
    # Four processes share neither the batches of 18 nor the last one of 7 evenly.
    settings = {"batch_size": 18, "epochs": 4}
    alone = start(tmp_path / "one", processes=1, parts=4, settings=settings)
    killed(start_all(tmp_path / "four", 4, settings=settings, dies={victim: [2, 1]}), victim)
    # Two processes can take four parts, two each.
    for process in [alone, *start_all(tmp_path / "four", 2, settings=settings)]:
        ended(process)
    one, four = (pd.read_csv(tmp_path / name / RUN / "history.csv") for name in ("one", "four"))
    assert four["epoch"].tolist() == [1, 2, 3, 4]
    for column in ("loss", "val_loss", "val_auroc"):
        assert four[column].to_numpy() == pytest.approx(one[column].to_numpy(), rel=1e-3)


@pytest.mark.soak
def test_four_processes_see_every_film_once_an_epoch(tmp_path):
    pytest.importorskip("jax", reason="JAX is not installed; run `make jax`")
    drawn(tmp_path)
    for process in start_all(tmp_path / "four", 4, settings={"batch_size": 18, "epochs": 2}):
        ended(process)
    everything = pd.concat([seen(tmp_path / "four", process) for process in range(4)])
    films = sorted(pd.read_csv(tmp_path / "films.csv")["film"][:FILMS])
    for epoch in (0, 1):
        assert sorted(everything.loc[everything["epoch"] == epoch, "film"]) == films


@pytest.mark.soak
def test_two_processes_stop_early_together(tmp_path):
    pytest.importorskip("jax", reason="JAX is not installed; run `make jax`")
    drawn(tmp_path)
    # So slow a pace gains nothing after the first epoch.
    settings = {"batch_size": BATCH, "epochs": 5, "learning_rate": 1e-9}
    for process in start_all(tmp_path / "two", 2, settings=settings, tiny=True, patience=1):
        ended(process)
    record = artifacts.read_json(tmp_path / "two" / RUN / "config.json")
    assert (record["finished"] is not None, record["epochs_done"], record["best_epoch"]) == (
        True,
        2,
        1,
    )


@pytest.mark.soak
def test_the_command_trains_the_demo_and_notebook_200_goes_on_from_there(tmp_path):
    pytest.importorskip("jax", reason="JAX is not installed; run `make jax`")
    environment = {
        name: text for name, text in os.environ.items() if not name.startswith(("CXR_", "KERAS_"))
    }
    environment |= {"CXR_ROOT": str(tmp_path), "CXR_SAMPLE": "250", "CXR_EPOCHS": "2"}
    environment |= {"CXR_MODELS": "baseline,residual", "CXR_ENSEMBLE": "1"}

    def run(*arguments, **variables) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-m", "cxr", *arguments],
            env=environment | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    ended(run("run", "--to", "100"))
    # As Slurm tells it, but for the address of a node that is not there.
    slurm = {"SLURM_NTASKS": "2", "SLURM_STEP_ID": "0"}
    place = ("--coordinator", f"127.0.0.1:{free_port()}")
    both = [run("train", *place, **slurm, SLURM_PROCID=number) for number in "01"]
    first, second = (process.communicate(timeout=1800) for process in both)
    assert [process.returncode for process in both] == [0, 0], first[1] + second[1]
    assert "process 0 of 2" in first[0] and "process 1 of 2" in second[0]
    assert "ensemble-patient: validation AUROC" in first[0]
    written = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/model.keras")}
    assert len(written) == 3
    ended(run("run", "--from", "200", "--to", "200"))
    assert written == {path: path.stat().st_mtime_ns for path in written}


def test_a_process_alone_is_the_first_of_one():
    rows = np.arange(5)
    assert (hosts.count(), hosts.number(), hosts.leads()) == (1, 0, True)
    assert hosts.own(rows).tolist() == hosts.gathered(rows, 5).tolist() == rows.tolist()
    assert hosts.told(b"films") == b"films"
    assert hosts.told_record({"epochs": 3}) == {"epochs": 3}
    assert hosts.told_record(None) is None
    hosts.agree({"epochs": 3})


def test_training_in_several_processes_needs_jax():
    if hosts.jax:
        pytest.skip("these tests run on JAX")
    with pytest.raises(InputError, match="set KERAS_BACKEND=jax"):
        hosts.join(launch.Place("node1:7654", 2, 0))


def test_the_place_of_a_process_is_what_was_given():
    place = launch.place("node1:7654", 4, 3, {})
    assert place == launch.Place("node1:7654", 4, 3)
    assert launch.place(None, None, None, {}) is None
    arguments = place.arguments()
    assert arguments[:2] == ["--coordinator=node1:7654", "--processes=4"]
    assert arguments[2:] == ["--process=3", "--member"]


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("gpu7", "gpu7"),
        ("gpu[007-009,12],big1", "gpu007"),
        ("a1-b,c2", "a1-b"),
        ("n[3,5-6]", "n3"),
        ("r[1-2]n[3-4]", "r1n3"),
        ("rack[1-2]-ib,n7", "rack1-ib"),
    ],
)
def test_slurm_tells_the_place_of_a_process(nodes, first):
    slurm = {"SLURM_PROCID": "1", "SLURM_NTASKS": "3", "SLURM_STEP_ID": "0"}
    slurm |= {"SLURM_JOB_ID": "123456", "SLURM_STEP_NODELIST": nodes}
    # 20,000 and the last four digits of the job.
    assert launch.place(None, None, None, slurm) == launch.Place(f"{first}:23456", 3, 1)
    # What is given counts for more.
    assert launch.place("node9:7000", None, None, slurm).coordinator == "node9:7000"


def test_a_batch_script_of_slurm_without_srun_is_one_process():
    slurm = {"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_JOB_NODELIST": "n[1-8]"}
    assert launch.place(None, None, None, slurm) is None
    assert launch.place(None, None, None, slurm | {"SLURM_NTASKS": "1"}) is None


def test_the_second_pod_of_a_job_does_not_train_alone():
    with pytest.raises(InputError, match="needs --coordinator and --processes, too"):
        launch.place(None, None, None, {"JOB_COMPLETION_INDEX": "1"})
    assert launch.place(None, None, None, {"JOB_COMPLETION_INDEX": "0"}) is None


@pytest.mark.parametrize(
    "told",
    [
        {"SLURM_NTASKS": "x", "SLURM_PROCID": "0", "SLURM_STEP_ID": "0"},
        {"SLURM_NTASKS": "2", "SLURM_PROCID": "x", "SLURM_STEP_ID": "0"},
        {"SLURM_NTASKS": "2", "SLURM_PROCID": "0", "SLURM_STEP_ID": "0", "SLURM_JOB_ID": "x"}
        | {"SLURM_JOB_NODELIST": "a,b"},
        {"JOB_COMPLETION_INDEX": "x"},
    ],
)
def test_a_schedulers_word_that_is_no_number_is_refused(told):
    with pytest.raises(InputError, match=r"the variable \w+ is 'x', which is no number"):
        launch.place(None, None, None, told)


def test_a_schedulers_empty_word_says_nothing():
    assert launch.place(None, None, None, {"JOB_COMPLETION_INDEX": ""}) is None
    assert launch.place(None, None, None, {"SLURM_NTASKS": "", "SLURM_PROCID": "0"}) is None


def test_a_port_that_is_taken_is_said_by_the_process_that_would_listen():
    pytest.importorskip("jax", reason="JAX is not installed; run `make jax`")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        member = (
            "from cxr.modelling import hosts, launch\n"
            f"hosts.join(launch.Place('127.0.0.1:{port}', 2, 0))"
        )
        process = subprocess.run(
            [sys.executable, "-c", member],
            env=os.environ | {"KERAS_BACKEND": "jax"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert process.returncode == 1
    assert f"process 0 cannot listen on port {port} of this machine" in process.stderr


def test_a_scheduler_can_end_a_process_that_trains():
    pytest.importorskip("jax", reason="JAX is not installed; run `make jax`")
    member = (
        "import time; from cxr.modelling import hosts, launch\n"
        f"hosts.join(launch.Place('127.0.0.1:{free_port()}', 1, 0))\n"
        "print('joined', flush=True); time.sleep(120)"
    )
    watcher = (
        "import sys; from cxr.modelling import launch\n"
        f"sys.exit(launch.watched([sys.executable, '-c', {member!r}]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", watcher],
        env=os.environ | {"KERAS_BACKEND": "jax"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "joined\n"
    process.terminate()
    _, said = process.communicate(timeout=30)
    assert process.returncode == 1 and "the training was ended by signal 15" in said


def test_kubernetes_tells_an_indexed_jobs_process():
    pod = {"JOB_COMPLETION_INDEX": "2"}
    assert launch.place("train-0.train:7654", 3, None, pod) == launch.Place(
        "train-0.train:7654", 3, 2
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("node1:7654", 2, None), "needs --process, too"),
        ((None, 2, 0), "needs --coordinator, too"),
        (("node1:7654", None, None), "needs --processes and --process, too"),
        (("node1", 2, 0), "--coordinator node1 is not HOST:PORT"),
        (("node1:7654", 2, 2), "--process 2 is not among 0 to 1"),
        (("node1:7654", 2, -1), "--process -1 is not among 0 to 1"),
        (("node1:7654", 0, 0), "--processes 0 is none"),
        (("node1:99999", 2, 0), "node1:99999 is not HOST:PORT"),
        (("http://node1:7654", 2, 0), "is not HOST:PORT"),
    ],
)
def test_a_place_that_cannot_be_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        launch.place(*given, {})
