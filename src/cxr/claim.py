"""A filled checklist after CLAIM (Tejani et al., Radiology: AI 2024), items paraphrased."""

from collections.abc import Mapping

# Number, item, and where the project answers it; "not answered" says why not. Words in
# braces are filled in from the evaluation.
ITEMS = (
    ("Title and abstract", None),
    (1, "Identified as a study of an AI method", "README, first sentence"),
    (2, "Structured summary", "model card, top"),
    ("Introduction", None),
    (3, "Scientific and clinical background", "README; notebook 100, introduction"),
    (4, "Objectives", "notebook 200 and 300, first paragraph"),
    ("Study design", None),
    (5, "Prospective or retrospective", "retrospective: a public data set of 1992 to 2015"),
    (6, "Goal of the study", "model card, intended use"),
    ("Data", None),
    (7, "Sources of the data", "notebook 000; `data/manifest.json`"),
    (8, "Who and what was eligible", "notebook 100, cleaning and rare combinations"),
    (9, "Preprocessing", "notebook 200, the films"),
    (10, "Selection of subsets", "notebook 100; {films} of {split_films} test films are present"),
    (11, "De-identification", "by NIH, before publication; not checked here"),
    (12, "Missing data", "notebook 100, cleaning table; notebook 300, what is not estimable"),
    (13, "How the images were acquired", "not answered: NIH published view and pixel size only"),
    ("Reference standard", None),
    (14, "Definition of the reference standard", "labels mined from radiology reports"),
    (15, "Why that one", "the only one for all films; notebook 300 holds it against radiologists"),
    (16, "Who annotated", "text mining (Wang et al. 2017); boxes and adjudication by radiologists"),
    (17, "Annotation of the test films", "notebook 300, adjudicated labels: {adjudicated}"),
    (18, "Agreement between annotators", "not answered: only consensus labels are published"),
    ("Partitions", None),
    (19, "How films were assigned", "split `{split}`; notebook 100, split"),
    (20, "Level at which parts are disjoint", "{leakage}"),
    (
        21,
        "Sample size of the test set",
        "{films} films of {patients} patients; no size was planned",
    ),
    ("Model", None),
    (22, "Description of the model", "`src/cxr/models.py`; model card, model"),
    (23, "Software", "model card, provenance; `constraints.txt`"),
    (24, "Initial weights", "{weights}"),
    (25, "Training", "notebook 200; `runs/{name}/config.json`"),
    (26, "How the final model was chosen", "best validation epoch: notebook 200"),
    (27, "Ensembling", "none"),
    ("Evaluation", None),
    (28, "Metrics", "notebook 300"),
    (29, "Uncertainty and significance", "notebook 300: patient-level bootstrap, Holm"),
    (30, "Robustness", "notebook 300: subgroups, controls without images, adjudicated labels"),
    (31, "Explainability, and its validation", "notebook 300, localisation: {localisation}"),
    (32, "Internal test data", "notebook 300, all of it"),
    (33, "External test data", "not answered: no other hospital's films were scored"),
    (34, "Registration of the trial", "not applicable: no trial"),
    ("Results", None),
    (35, "Films included and left out", "notebooks 000 and 100"),
    (36, "Characteristics of each part", "notebook 100, split table"),
    (37, "Performance with uncertainty", "`tables/auroc_{name}.csv`, `tables/auprc_{name}.csv`"),
    (38, "Diagnostic performance", "`tables/operating_points_{name}.csv`: {operating}"),
    (39, "Analysis of failures", "notebook 300, misses and false alarms: {failures}"),
    ("Discussion", None),
    (40, "Limitations", "model card, limits"),
    (41, "Implications for practice", "none: not for care; model card, intended use"),
    ("Other information", None),
    (42, "Full protocol", "the four notebooks and `src/cxr`"),
    (43, "Availability of code, model and data", "README"),
    (44, "Funding", "not answered: none is declared"),
)


def checklist(name: str, answers: Mapping[str, str]) -> str:
    """The checklist of one run, as Markdown.

    Args:
        name: the run's.
        answers: fills the braces of `ITEMS`, but for the name.
    """
    lines = [
        f"# Checklist of {name}",
        "",
        "After CLAIM 2024 (Checklist for Artificial Intelligence in Medical Imaging), items "
        "paraphrased. Filled from the evaluation's tables. Research software, not a medical "
        "device.",
    ]
    for number, item, *where in ITEMS:
        if item is None:
            lines += ["", f"## {number}", "", "| | item | answered |", "|---|---|---|"]
        else:
            lines.append(f"| {number} | {item} | {where[0].format(name=name, **answers)} |")
    return "\n".join(lines) + "\n"
