"""Detection of 14 pathologies in chest X-rays (NIH ChestX-ray14).

Research software, not a medical device.
"""

__version__ = "0.1.0"


def predict(*films, run=None, profile=None, prevalence=None, untrained_twin=False):
    """Score films in a notebook; the last line of a cell shows the report.

        import cxr
        cxr.predict("film.dcm")

    Args:
        films: files, folders or patterns: PNG, JPEG or DICOM.
        run: a folder of `runs/`, or an exported file; the best by default.
        profile: as `--profile`.
        prevalence: as `--prevalence`, such as 0.05 or "Mass=0.03,Nodule=0.1".
        untrained_twin: as `--untrained-twin`.

    Returns:
        A report: `.table` is a frame with a row a film, `.write(path)` makes a page.

    Raises:
        InputError: if there is no such run or film.
    """
    # Here, so that `import cxr` stays light.
    from cxr.config import load_config
    from cxr.films import reading
    from cxr.modelling import predict as prediction
    from cxr.publish.film_report import PICTURES, Report, prevalences

    runs = load_config(profile=profile).runs
    files = reading.found([str(film) for film in films])
    model, _ = prediction.load(run, runs, prevalences(prevalence))
    if untrained_twin:
        model.with_twin()
    return Report(model, tuple(model.answers(files, pictures=PICTURES)))
