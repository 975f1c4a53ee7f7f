"""`python -m cxr`: fetch, run the notebooks, check the machine, publish, evaluate, predict."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from cxr.config import PROFILES, PROJECT, SOURCES, SPLITS, Config, load_config
from cxr.errors import InputError

# The results on real films that the project keeps, and that its README quotes.
_KEPT = PROJECT / "presentation" / "results" / "images128"


def main(arguments: list[str] | None = None) -> int:
    """Parse `arguments`, do as told, and return the exit code: 0, or 1 after an error."""
    parser = _parser()
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        # The command's own usage lists what exists; the top level's names the commands only.
        options.command.error(f"unrecognized arguments: {' '.join(unknown)}")
    try:
        return options.action(options)
    except InputError as error:
        print(f"cxr: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever read the output has seen enough; what is left must not be written at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        again = "goes on where it stopped" if options.action in _RESUMING else "starts anew"
        print(f"cxr: interrupted; the same command, run again, {again}.", file=sys.stderr)
        return 130


_EVALUATE: dict[str, dict] = {
    "scores": {
        "type": Path,
        "nargs": "+",
        "metavar": "FILE",
        "help": "CSV, TSV or Parquet, also gzipped: a column of film names, and one of "
        "probabilities per finding; several files are compared",
    },
    "--records": {
        "type": Path,
        "metavar": "CSV",
        "help": "NIH's records; fetched where not given",
    },
    "--split": {
        "choices": SPLITS,
        "help": "judge its test films only, and choose thresholds on its validation films; "
        "default: judge all scored films, and choose nothing",
    },
    "--films": {
        "type": Path,
        "metavar": "LIST",
        "help": "judge these only: one film name a line",
    },
    "--to": {
        "type": Path,
        "metavar": "FOLDER",
        "help": "where tables, figures and cards go; default: presentation/evaluations/<FILE>",
    },
}

_PREDICT: dict[str, dict] = {
    "films": {
        "nargs": "+",
        "metavar": "FILM",
        "help": "PNG, JPEG or DICOM; also folders and patterns such as 'films/*.dcm'",
    },
    "--run": {
        "metavar": "NAME",
        "help": "a folder of runs/, or an exported file; default: the best",
    },
    "--html": {"type": Path, "metavar": "FILE", "help": "write a page with pictures and heatmaps"},
    "--json": {"metavar": "FILE", "help": "write JSON, a line a film; - prints it instead"},
    "--csv": {"type": Path, "metavar": "FILE", "help": "write a table, a row a film"},
    "--prevalence": {
        "metavar": "P",
        "help": "share of films that have a finding where these come from: 0.05 for all, or "
        "Mass=0.03,Nodule=0.1; default: that of the test films",
    },
    "--batch": {
        "type": int,
        "default": 32,
        "metavar": "N",
        "help": "films in a step of the network; default: 32",
    },
    "--untrained-twin": {
        "action": "store_true",
        "help": "with --html: beside each heatmap that of the same network with its weights "
        "shuffled; where both are alike, nothing is shown that was learned",
    },
}

_SERVE: dict[str, dict] = {
    "--run": _PREDICT["--run"],
    "--prevalence": _PREDICT["--prevalence"],
    "--host": {
        "default": "127.0.0.1",
        "metavar": "ADDRESS",
        "help": "where to listen; default: this machine only. With 0.0.0.0 everybody who reaches "
        "it and knows the address may use the page, unencrypted",
    },
    "--port": {"type": int, "metavar": "N", "help": "default: 8765; 0 takes any free one"},
}


_EXTERNAL: dict[str, dict] = {
    "run": {"metavar": "RUN", "help": "a folder of runs/"},
    "--source": {
        "required": True,
        "metavar": "NAME",
        "help": f"whose films these are: {', '.join(SOURCES)} (a table of your own)",
    },
    "--records": {"required": True, "type": Path, "metavar": "TABLE", "help": "the source's"},
    "--images": {"required": True, "type": Path, "metavar": "FOLDER", "help": "its films"},
    "--local": {
        "type": int,
        "default": 300,
        "metavar": "N",
        "help": "films, by whole patients, that recalibrate and judge nothing; default: 300",
    },
}


_TRAIN: dict[str, dict] = {
    "--coordinator": {
        "metavar": "HOST:PORT",
        "help": "address of process 0, which the others can reach, and any free port there",
    },
    "--processes": {"type": int, "metavar": "N", "help": "how many train together"},
    "--process": {"type": int, "metavar": "K", "help": "which of them this one is, from 0"},
    "--member": {"action": "store_true", "help": argparse.SUPPRESS},
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m cxr",
        description="Detection of 14 pathologies in chest X-rays. Research software, "
        "not a medical device.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, action, text: str, *, profile: bool = True) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text)
        made.set_defaults(action=action, command=made)
        if profile:
            known = f"{', '.join(PROFILES)} (or CXR_PROFILE)"
            made.add_argument("--profile", metavar="NAME", help=known)
        return made

    run = command("run", _run, "execute the notebooks in order")
    for flag, name, default in (("--from", "first", "000"), ("--to", "last", "300")):
        run.add_argument(flag, dest=name, default=default, metavar="STAGE", help="000 to 300")
    command("fetch", _fetch, "do all of 000's work: records and films, verified, with progress")
    text = "name the GPU and the precision; rehearse the training on made-up films"
    preflight = command("preflight", _preflight, text)
    preflight.add_argument("--devices-only", action="store_true", help="do without the rehearsal")
    text = "train the models of notebook 200, also in several processes on several machines"
    train = command("train", _train, text)
    for flag, options in _TRAIN.items():
        train.add_argument(flag, **options)
    evaluate = command("evaluate", _evaluate, "evaluate files of any models' scores", profile=False)
    for flag, options in _EVALUATE.items():
        evaluate.add_argument(flag, **options)
    predict = command("predict", _predict, "score films with a trained model")
    for flag, options in _PREDICT.items():
        predict.add_argument(flag, **options)
    serve = command("serve", _serve, "open a page that films are dropped on; nothing is kept")
    for flag, options in _SERVE.items():
        serve.add_argument(flag, **options)
    text = "judge a run by another hospital's films: external validation"
    external = command("external", _external, text)
    for flag, options in _EXTERNAL.items():
        external.add_argument(flag, **options)
    export = command("export", _export, "write a run as one file for predict --run elsewhere")
    export.add_argument("run", metavar="RUN", help="a folder of runs/")
    export.add_argument("--to", type=Path, metavar="FILE", help="default: <RUN>.cxr")
    command("html", _site, "write the results as a site that needs no network")
    deck = command("deck", _deck, "write the results as slides")
    text = "with tables, such as presentation/results/images128; default: the profile's own"
    deck.add_argument("results", type=Path, nargs="?", metavar="FOLDER", help=text)
    text = "write the README's table, pictures and slides from the measured tables"
    command("readme", _readme, text, profile=False)
    text = "execute the committed notebooks on the demo and clean them"
    command("notebooks", _publish, text, profile=False)
    return parser


def _environment(config: Config) -> dict[str, str]:
    """The variables that make a kernel load the same configuration."""
    environment = {"CXR_PROFILE": config.profile, "CXR_ROOT": str(config.root)}
    environment["CXR_SOURCE"] = config.source
    # Kernels start in the project's folder, so relative paths must not start anew there.
    for name in ("records", "images", "split_lists", "rsna", "weights", "sample"):
        if getattr(config, name) is not None:
            environment[f"CXR_{name.upper()}"] = str(getattr(config, name))
    return environment


def _run(options: argparse.Namespace) -> int:
    # Refused at once, not after the imports.
    config = load_config(profile=options.profile)

    from cxr import progress
    from cxr.publish import notebooks

    names = notebooks.stages(options.first, options.last)
    environment = _environment(config)
    print(f"Profile {config.profile}; artifacts go to {config.root}.", flush=True)
    if "200" in names:
        # Before hours of download, not after them; in a process of its own, so that this one,
        # which waits for hours, holds neither TensorFlow nor a GPU.
        command = [sys.executable, "-m", "cxr", "preflight", "--profile", config.profile]
        # Whoever fetches rehearses; the demo is over before its rehearsal would be.
        rehearsed = config.phantoms or "000" in names
        checked = subprocess.run(command + ["--devices-only"] * rehearsed, check=False)
        if checked.returncode:
            return checked.returncode
    if "000" in names and not config.phantoms:
        # Here and not in the notebook's kernel, where nobody sees a night's progress.
        log = notebooks.Log(config.runs / "notebooks" / "run.log", "fetch")
        with progress.logged(log.write):
            environment[notebooks.REHEARSED] = _fetch_all(config)
    try:
        notebooks.execute(config, names, environment)
    except notebooks.CellError as error:
        print(f"cxr: {error}", file=sys.stderr)
        return 1
    print(f"Executed notebooks and the log lie in {config.runs / 'notebooks'}.")
    if "300" in names:
        print(_headline(config))
    return 0


def _fetch(options: argparse.Namespace) -> int:
    config = load_config(profile=options.profile)
    _fetch_all(config)
    print(f"Next: make run PROFILE={config.profile} goes on from here.")
    return 0


def _fetch_all(config: Config) -> str:
    """What notebook 000 does, by the same functions; prints its tables.

    Returns:
        What the rehearsal said.
    """
    from cxr.fetch import download, preparation, selection, small_files
    from cxr.fetch.archives import open_archives
    from cxr.publish import notebooks
    from cxr.records import sources

    preparation.check(config)
    rehearsed = notebooks.rehearse(config)
    print(rehearsed or "Not rehearsed: none of NIH's films is fetched.")
    print(small_files.fetch_into_data(config).to_string(index=False), flush=True)
    records, _ = sources.load(config.data / "records.csv")
    films = selection.wanted(config, records)
    print(f"{len(films):,} of {len(records):,} films are wanted.", flush=True)
    with open_archives(config, records, films, selection.boxes(config.data)) as archives:
        fetched = download.fetch_films(config, archives, films)
    if len(fetched):
        print(fetched.to_string(index=False), flush=True)
    print(download.take_inventory(config, films).to_string(index=False), flush=True)
    return rehearsed


def _headline(config: Config) -> str:
    """What a whole run found, where it is shown, and what to run next."""
    from cxr.publish import results
    from cxr.wording import with_interval

    found = results.of_profile(config)
    lines = [
        f"{words}: mean AUROC {with_interval(found.mean(r))}" for r, words in found.named().items()
    ]
    if config.phantoms:
        lines.append("These films are drawings: the pipeline works, and nothing is said of people.")
    lines.append(f"Figures, tables and model cards lie in {config.presentation}.")
    lines.append(f"Next: make html PROFILE={config.profile} puts all on pages for a browser.")
    return "\n".join(lines)


def _preflight(options: argparse.Namespace) -> int:
    from cxr.modelling import devices, rehearsal

    config = load_config(profile=options.profile)
    print(devices.preflight(config), flush=True)
    if not options.devices_only:
        print(rehearsal.summary(rehearsal.rehearse(config), config), flush=True)
    return 0


def _train(options: argparse.Namespace) -> int:
    from cxr.modelling import launch

    place = launch.place(options.coordinator, options.processes, options.process, os.environ)
    config = load_config(profile=options.profile)
    if place is None:
        return _train_models(config)
    if not options.member:
        profile = ["--profile", config.profile]
        command = [sys.executable, "-m", "cxr", "train", *place.arguments(), *profile]
        return launch.watched(command)
    launch.end_with_parent()
    from cxr.modelling import hosts

    with hosts.explained():
        hosts.join(place)
        return _train_models(config)


def _train_models(config: Config) -> int:
    """What notebook 200 does to train, by the same functions."""
    from cxr.fetch import download
    from cxr.modelling import devices, ensemble, hosts, training
    from cxr.records import split_files

    print(devices.preflight(config), flush=True)
    # Who trains one run more would wait for ever.
    hosts.agree(
        {
            "CXR_MODELS": list(config.models),
            "runs": [setting.run_name(m) for setting in config.trainings for m in config.models],
            "CXR_ENSEMBLE": bool(config.ensemble),
        }
    )
    wanted = split_files.settings_of(config)
    parts, split = split_files.load_split(config.subset, settings=wanted)
    paths = download.available(config, size=config.image_size)
    if hosts.leads():
        print(training.take_part(parts, paths).to_string(index=False), flush=True)
    runs = [
        training.run(model, paths, parts, setting, split_checksum=split["films_sha256"]["train"])
        for setting in config.trainings
        for model in config.models
    ]
    if hosts.leads():
        if config.ensemble:
            runs.append(ensemble.combine(runs, parts["validation"], config))
        for run in runs:
            print(f"{config.runs / run['name']}: validation AUROC {run['validation_auroc']}")
    # None leaves before all is written.
    hosts.told(b"")
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    from cxr import artifacts
    from cxr.fetch import selection, small_files
    from cxr.publish import foreign_scores, notebooks
    from cxr.records import nih, rsna, splits

    config = load_config()
    path = options.records or config.records or small_files.path_of("records")
    records, _ = nih.read_records(path)
    split = None
    if options.split:
        if not config.partial_records:
            splits.refuse_partial(records, options.split)
        split = splits.make_split(
            records,
            options.split,
            min_combination=config.min_combination,
            seed=config.seed,
            lists=config.split_lists,
        )
    films = None
    if options.films:
        films = selection.listed(options.films, sorted(records["film"]), setting="--films")
    try:
        agreed = nih.read_adjudicated(small_files.path_of("adjudicated"))
    except InputError:
        agreed = None
    names = "-and-".join(map(foreign_scores.name_of, options.scores))
    evaluated = foreign_scores.evaluate(
        options.scores,
        records,
        options.to or PROJECT / "presentation" / "evaluations" / names,
        provenance=f"{notebooks.provenance(config)}  records {artifacts.sha256(path)[:12]}",
        split=split,
        split_name=options.split,
        films=films,
        agreed=agreed,
        readings=rsna.read_readings(config.rsna) if config.rsna else None,
    )
    print(evaluated)
    return 0


def _predict(options: argparse.Namespace) -> int:
    from cxr.films import reading
    from cxr.modelling import predict
    from cxr.publish import film_report

    config = load_config(profile=options.profile)
    films = reading.found(options.films)
    shares = film_report.prevalences(options.prevalence)
    lines_to = None if options.json is None else Path(options.json)
    outputs = {"--html": options.html, "--csv": options.csv, "--json": lines_to}
    film_report.check_outputs(films, outputs)
    predict.check_batch(options.batch)
    if options.untrained_twin and options.html is None:
        raise InputError("--untrained-twin shows heatmaps, and they need --html FILE.")
    model, why = predict.load(options.run, config.runs, shares)
    if options.untrained_twin:
        model.with_twin()
    if options.json != "-":
        print(f"Scored by {model.name} ({why}).\n" + "\n".join(model.notes) + "\n", flush=True)
    complete = film_report.run(
        model,
        films,
        page_to=options.html,
        table_to=options.csv,
        json_to=lines_to,
        batch=options.batch,
    )
    return 0 if complete else 1


def _serve(options: argparse.Namespace) -> int:
    from cxr.modelling import predict
    from cxr.publish import film_report, serving

    config = load_config(profile=options.profile)
    shares = film_report.prevalences(options.prevalence)
    model, why = predict.load(options.run, config.runs, shares)
    port = serving.PORT if options.port is None else options.port
    server = serving.Server(model, why, host=options.host, port=port)
    print(f"Scored by {model.name} ({why}).\n{predict.WARNING}", flush=True)
    if not server.local:
        print(
            f"Listening at {options.host}: whoever reaches this machine and knows the address may "
            "use the page, and films travel unencrypted.",
            flush=True,
        )
    print(f"Open {server.address}\nCtrl-C ends it.", flush=True)
    with server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("Ended.")
    return 0


def _external(options: argparse.Namespace) -> int:
    from cxr import artifacts
    from cxr.evaluation import external
    from cxr.fetch import source_films
    from cxr.modelling import external_scores, inference, predict
    from cxr.records import sources

    config = load_config(profile=options.profile)
    folder = predict.run_folder(config.runs, options.run)
    run = inference.read_run(folder)
    records, cleaning = sources.read(options.source, options.records)
    learned = {
        "trained_on": run.get("config", {}).get("source", "nih"),
        # A run that does not know its table may have learned from this one.
        "another_table": run.get("table") not in (None, artifacts.sha256(options.records)),
    }
    external.refuse_nothing(records, **learned)
    source = external.named(options.source, options.records)
    judged = config.presentation / "external"
    external.refuse_another(judged / f"{folder.name}-on-{source}", options.records)
    if not options.images.is_dir():
        raise InputError(f"{options.images} is not a folder; name the one with the films.")
    paths = source_films.find(options.images, records)
    absent = source_films.absent(records, paths)
    remark = external_scores.refuse_learned(records, paths, config.data, folder)
    # Before hours of scoring, and then of what could be scored.
    records = records.set_index("film").loc[list(paths)]
    external.refuse_nothing(records, **learned)
    local = external.draw_local(records, films=options.local, seed=config.seed)
    scores, refused = external_scores.score(folder, paths)
    local = local[records.index.isin(scores.index)]
    records = records.loc[scores.index]
    unlearned = run.get("unlearned", [])
    found = external.evaluate(records, scores, local, unlearned=unlearned, **learned)
    table = external.save(
        found,
        judged,
        run=folder.name,
        source=source,
        records=options.records,
        shown_by=external_scores.shown_by(folder),
    )
    artifacts.write_csv(table.with_name("cleaning.csv"), cleaning)
    print(external.in_words(found, folder.name, source))
    if remark:
        print(remark)
    if learned["trained_on"] == options.source:
        print("Both tables are your own: that no patient is in both is for you to make sure.")
    for rule, films in cleaning.itertuples(index=False):
        print(f"  {rule}: {films:,}")
    if absent:
        print(f"Films of the table that are not in {options.images}: {len(absent):,}.")
    if refused:
        film, why = next(iter(refused.items()))
        print(f"{len(refused):,} films could not be read, such as {paths[film]}: {why}")
    print(table)
    return 0


def _export(options: argparse.Namespace) -> int:
    from cxr.modelling import exported, predict
    from cxr.publish import film_report

    config = load_config(profile=options.profile)
    folder = predict.run_folder(config.runs, options.run)
    path = options.to or Path(f"{folder.name}{exported.ENDING}")
    film_report.check_outputs([], {"--to": path})
    checksum = exported.write(folder, path, config.presentation / f"model_card_{folder.name}.md")
    print(f"{path}\nSHA-256 {checksum}")
    return 0


def _site(options: argparse.Namespace) -> int:
    from cxr.publish import site

    print(f"Open {site.write(load_config(profile=options.profile))} in a browser.")
    return 0


def _deck(options: argparse.Namespace) -> int:
    from cxr.fetch import small_files
    from cxr.publish import deck, results

    config = load_config(profile=options.profile)
    if options.results is not None:
        found, path = results.of_folder(options.results), options.results / "deck.html"
        known = deck.read_facts(small_files.path_of("records"))
    else:
        found, path = results.of_profile(config), config.presentation / "deck.html"
        known = deck.read_facts(
            config.data / "records.csv",
            min_combination=config.min_combination,
            seed=config.seed,
        )
    for written in deck.write(found, known, path, light=options.results is not None):
        print(written)
    return 0


def _readme(options: argparse.Namespace) -> int:
    from cxr.fetch import small_files
    from cxr.publish import deck, readme, results

    found = results.of_folder(_KEPT)
    known = deck.read_facts(small_files.path_of("records"))
    for written in (
        *readme.write(found, PROJECT / "README.md"),
        *deck.write(found, known, found.folder / "deck.html", light=True),
    ):
        print(written)
    return 0


def _publish(options: argparse.Namespace) -> int:
    import tempfile

    from cxr import artifacts
    from cxr.publish import notebooks, stills

    # A root of its own, made and removed: what a reader sees was all done in this run.
    with tempfile.TemporaryDirectory() as root:
        config = load_config({}, profile="demo", root=Path(root))
        try:
            notebooks.publish(config, _environment(config))
            # The slides of real films' results show these drawings: no real film is kept.
            drawings = config.presentation / "figures" / stills.NAME
            artifacts.write_text(_KEPT / stills.NAME, drawings.read_text(encoding="utf-8"))
        except notebooks.CellError as error:
            print(f"cxr: {error}", file=sys.stderr)
            return 1
    return 0


# What these have finished is found again.
_RESUMING = (_run, _fetch, _train)


if __name__ == "__main__":
    sys.exit(main())
