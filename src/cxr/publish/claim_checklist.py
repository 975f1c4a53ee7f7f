"""A filled checklist after CLAIM (Tejani et al., Radiology: AI 2024), items paraphrased."""

from collections.abc import Mapping

UNKNOWN = "unknown: only scores were given"

# Number, item, the answer for a run of this project, and, where it differs, for scores whose
# model is not known. What was not done is called so. Words in braces are filled in from the
# evaluation.
ITEMS = (
    ("Title and abstract", None),
    (
        1,
        "Identified as a study of an AI method",
        "in part: the README names its networks, its title no technique",
        UNKNOWN,
    ),
    (2, "Structured summary", "model card, top"),
    ("Introduction", None),
    (
        3,
        "Scientific and clinical background",
        "in part: what is known of this data set's labels and splits (README, notebook 100); the "
        "clinical literature was not reviewed",
        UNKNOWN,
    ),
    (
        4,
        "Aims, objectives, hypotheses",
        "aims in the first lines of each notebook; no hypothesis was stated beforehand",
        UNKNOWN,
    ),
    ("Study design", None),
    (5, "Prospective or retrospective", "retrospective: {when}"),
    (
        6,
        "Goal of the study",
        "model card, intended use",
        "judging scores; the model's own: unknown",
    ),
    ("Data", None),
    (
        7,
        "Sources of the data",
        "notebook 000; `data/manifest.json`",
        "judged films: NIH ChestX-ray14; training films: unknown",
    ),
    (
        8,
        "Who and what was eligible",
        "notebook 100, cleaning and rare combinations",
        "every scored film that the records know{narrowed}",
    ),
    (9, "Preprocessing", "notebook 200, the films", UNKNOWN),
    (
        10,
        "Selection of subsets",
        "notebook 100; {films} of {split_films} test films are present",
        "{films} films: {films_are}",
    ),
    (11, "De-identification", "by {whose}, before publication; not checked here"),
    (
        12,
        "Missing data",
        "notebook 100, cleaning table; findings of too few patients are named in every table",
        "findings of too few patients, or without scores, are named in every table",
    ),
    (13, "How the images were acquired", "{acquired}"),
    ("Reference standard", None),
    (14, "Definition of the reference standard", "{standard}"),
    (
        15,
        "Why that one",
        "the only one for all films; held against radiologists where they read some: "
        "adjudicated labels: {adjudicated}; RSNA's readings: {rsna}",
    ),
    (16, "Who annotated", "{annotated}"),
    (17, "Annotation of the test films", "like all others; adjudicated: {adjudicated}"),
    (18, "Agreement between annotators", "{agreement}"),
    ("Partitions", None),
    (19, "How films were assigned", "split `{split}`; notebook 100, split", UNKNOWN),
    (20, "Level at which parts are disjoint", "{leakage}"),
    (
        21,
        "Sample size of the test set",
        "{films} films of {patients} patients; no size was planned",
    ),
    ("Model", None),
    (22, "Description of the model", "`src/cxr/modelling/models.py`; model card, model", UNKNOWN),
    (23, "Software", "model card, provenance; `constraints.txt`", "of the evaluation: model card"),
    (24, "Initial weights", "{weights}", UNKNOWN),
    (25, "Training", "notebook 200; `runs/{name}/config.json`", UNKNOWN),
    (
        26,
        "How the final model was chosen",
        "epoch: best on validation films (notebook 200); default recipe: compared on real films, "
        "some of them of test patients (README)",
        UNKNOWN,
    ),
    (27, "Ensembling", "{ensembling}", UNKNOWN),
    ("Evaluation", None),
    (28, "Metrics", "notebook 300", "those of notebook 300: `tables/`"),
    (
        29,
        "Uncertainty and significance",
        "95 % intervals that leave out each patient in turn, their coverage measured; Holm's "
        "correction over the findings of a comparison",
    ),
    (
        30,
        "Robustness",
        "groups of patients and films; scores without an image: {controls}; films of another "
        "source: not done here; `python -m cxr external` judges by them",
    ),
    (31, "Explainability, and its validation", "{localisation}", "not done: only scores"),
    (32, "Testing on internal data", "notebook 300, all of it", UNKNOWN),
    (33, "Testing on external data", "not done here: `python -m cxr external` does it", UNKNOWN),
    (34, "Registration of the trial", "not applicable: no trial"),
    ("Results", None),
    (
        35,
        "Films included and left out",
        "notebooks 000 and 100; no flow diagram",
        "model card, notes of the evaluation",
    ),
    (
        36,
        "Characteristics of each part",
        "in part: films, patients, findings, view, sex and age bands in notebook 100's figures of "
        "balance; no table of demographics by part",
        "in part: judged films by sex, age and view (model card, groups); training: unknown",
    ),
    (37, "Performance with uncertainty", "`tables/auroc_{name}.csv`, `tables/auprc_{name}.csv`"),
    (38, "Diagnostic performance", "{operating}"),
    (
        39,
        "Analysis of failures",
        "in part: galleries of misses and false alarms (notebook 300); no radiologist read them",
        "not done: only scores",
    ),
    ("Discussion", None),
    (40, "Limitations", "model card, limits"),
    (41, "Implications for practice", "none: not for care; model card, intended use"),
    ("Other information", None),
    (
        42,
        "Full protocol",
        "in part: the four notebooks and `src/cxr` are what was done; none was written beforehand",
        UNKNOWN,
    ),
    (
        43,
        "Availability of code, model and data",
        "code: README; data: {whose}'s; trained models: not published",
        UNKNOWN,
    ),
    (44, "Funding", "not done: none is declared", UNKNOWN),
)


def origin(source: str, title: str) -> dict[str, str]:
    """What fills the braces on films and labels.

    Args:
        source: "nih", or another source of films.
        title: with whom to cite that other one.
    """
    if source == "nih":
        return {
            "when": "a public data set of 1992 to 2015",
            "whose": "NIH",
            "acquired": "not done: NIH published view and pixel size only",
            "standard": "labels mined from radiology reports",
            "annotated": "text mining (Wang et al. 2017); boxes and adjudication by radiologists",
            "agreement": "not done: labels of individual readers are published (Majkowska et al. "
            "2020), only those that they agreed on are read here",
        }
    return {
        "when": f"films of {title}",
        "whose": f"the source `{source}`",
        "acquired": "not done: what the source tells of it is not read here",
        "standard": "labels of the source, read by `source_labels.csv`",
        "annotated": f"the source's own annotators: {title}",
        "agreement": "not done",
    }


def checklist(name: str, answers: Mapping[str, str], *, known: bool, drawn: bool) -> str:
    """The checklist of one run or file of scores, as Markdown.

    Args:
        name: the run's, or the file's.
        answers: fills the braces of `ITEMS`, but for the name.
        known: whether this project trained the model.
        drawn: whether the films are phantoms.
    """
    lines = [
        f"# Checklist of {name}",
        "",
        "After CLAIM 2024 (Checklist for Artificial Intelligence in Medical Imaging), items "
        "paraphrased. Filled from the evaluation's tables. Research software, not a medical "
        "device.",
    ]
    if drawn:
        lines += [
            "",
            "**The films are phantoms**, synthetic drawings: items 5, 7, 11 and 13 to 18 hold for "
            "the records that they were drawn from, and no result for real films or patients.",
        ]
    for number, item, *where in ITEMS:
        if item is None:
            lines += ["", f"## {number}", "", "| | item | answered |", "|---|---|---|"]
        else:
            text = (where[0] if known else where[-1]).format(name=name, **answers)
            lines.append(f"| {number} | {item} | {text} |")
    return "\n".join(lines) + "\n"
