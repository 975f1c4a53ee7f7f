"""The data card: what the data are, in words that change rarely and numbers that are computed."""

import textwrap
from collections.abc import Mapping

import pandas as pd

from cxr.evaluation import radiologists
from cxr.findings import FINDINGS, NO_FINDING, TOO_FEW, label
from cxr.publish import record_conclusions
from cxr.records import nih, sources, split_checks, splits

_NIH = """\
# Data card: NIH ChestX-ray14

The counts and shares of films and patients on this page were computed by
`cxr.publish.data_card` from the files, and notebook 100 writes them again whenever it runs;
years, sizes, and what NIH says of its labels are quoted.

## What it is

These records describe {which}.
The table is {version}.

{films:,} frontal chest films of {patients:,} patients, taken at the NIH Clinical Center, USA,
between 1992 and 2015, as 8-bit PNG files of 1024 × 1024 pixels: scaled from the originals,
whose windows and aspect ratios are lost. {singles:,} patients have one film; one has {most}.
{women:.0f} % of the films show women; ages run from {youngest} to {oldest} years, with a median
of {median_age:.0f}; {ap:.0f} % of the films are in AP view, mostly of patients who cannot stand.

NIH published its table twice, in 2017 and as v2020; the ages and follow-up numbers of the two
differ in many rows. In the version read here, {age_missing}.
Labels of before November 2017 lack findings on {relabelled} films and differ in nothing else, so
results on them differ a little. Only whole tables can be told apart: a part of one is called
"unknown".

Some films are unlike the rest:

- Some are RGBA with three equal colours; they are read as 8-bit grey, their alpha is left out.
- Some are turned, inverted, lateral, or mostly black border. They stay in: nothing in the records
  marks them. What is almost blank or cannot be decoded is left out by name, see
  `data/inventory.json`; `python -m cxr predict` warns of films that are unlike usual ones.
- Some consecutive films of a patient are reported to be the same file under two names
  (00000820_015 and _016, 00001989_004 and _005, 00002658_001 and _002). Notebook 000 compares
  all films at hand and names the duplicates that it finds; they are used, as the records list
  them, and no split by patient divides them.

## How it was labelled

By text mining of the radiologists' reports, not by anybody who looked at the films for this
purpose; NIH estimates the labels to be over 90 % accurate. {no_finding:,} films
({no_finding_share:.0f} %) bear none of the 14 findings. **"No Finding" is not "normal"**: the
report mentioned none of the 14, which leaves room for others. {combinations:,} different
label combinations occur.

| finding | films | % of films | alone (%) | patients | AP view (%) | median age |
|---|--:|--:|--:|--:|--:|--:|
{findings}
{agreement}
{boxes}
## Splits

| split | part | films | patients | films per patient | No Finding (%) | of patients in train (%) |
|---|---|--:|--:|--:|--:|--:|
{splits}

- `patient`, the default, never divides a patient. It keeps the films whose label combination
  occurs on at least {min_combination} films: {kept:,}. {lost}
{kinds}
## Known biases

{measured_biases}
- **Treatment shows.** Many Pneumothorax films show the chest drain that treats it, and models
  learn the drain (Oakden-Rayner, 2019).
- One hospital, one country, adults for the most part: nothing here says how a model fares
  elsewhere.

## Uses

Research and teaching. Labels of this kind cannot support claims about a single patient, and no
model trained on them may guide care.

## Terms and citation

NIH states that the usage of the data set is unrestricted, but that one should link the
original download site (<https://nihcc.app.box.com/v/ChestXray-NIHCC>), acknowledge the NIH
Clinical Center, and cite:

> Xiaosong Wang, Yifan Peng, Le Lu, Zhiyong Lu, Mohammadhadi Bagheri, Ronald M. Summers.
> *ChestX-ray8: Hospital-scale Chest X-ray Database and Benchmarks on Weakly-Supervised
> Classification and Localization of Common Thorax Diseases.* IEEE CVPR 2017, pp. 3462–3471.

The radiologists' labels are from Majkowska et al., *Chest Radiograph Interpretation with Deep
Learning Models: Assessment with Radiologist-adjudicated Reference Standards and
Population-adjusted Evaluation*, Radiology 2020.
"""

# Of splits that not all records allow.
_KINDS = {
    "official": "`official` is NIH's test list, other than its training part: see *known biases*.",
    "original": "`original` divides films, not patients; it is here to reproduce and to explain "
    "older\n  results.",
}

_ANOTHER = """\
# Data card: films of `{source}`

The counts and shares on this page were computed by `cxr.publish.data_card` from the source's
table, and notebook 100 writes them again whenever it runs. What the films and labels are
otherwise is their source's to tell: {title}.

## What it is

These records describe {which}.
The table is {version}.

{films:,} frontal chest films of {patients:,} patients, as far as the table names them.
{singles:,} patients have one film; one has {most}. {women:.0f} % of the films show women;
{ages}; {age_missing}. {ap:.0f} % of the films are in AP view.

Only films that are certain on every finding that the source labels are here. {unlabelled}

## How it was labelled

By the source. What each of its labels says of the 14 findings is our reading, a row each in
`src/cxr/records/source_labels.csv`. {no_finding:,} films ({no_finding_share:.0f} %) bear none of
the 14 findings, which is not the same as "normal". {combinations:,} different label combinations
occur.

| finding | films | % of films | alone (%) | patients | AP view (%) | median age |
|---|--:|--:|--:|--:|--:|--:|
{findings}

## Splits

| split | part | films | patients | films per patient | No Finding (%) | of patients in train (%) |
|---|---|--:|--:|--:|--:|--:|
{splits}

`patient` never divides a patient. It keeps the films whose label combination occurs on at least
{min_combination} films: {kept:,}. {lost}

## Known biases

{measured_biases}
- One source: nothing here says how a model fares elsewhere.

## Uses

Research and teaching, within the source's terms. No model trained on these films may guide care.
"""


def compose(
    records: pd.DataFrame,
    by_kind: Mapping[str, pd.Series],
    aurocs: pd.DataFrame,
    *,
    min_combination: int,
    boxes: pd.DataFrame | None = None,
    adjudicated: pd.DataFrame | None = None,
) -> str:
    """The data card as Markdown.

    Args:
        records: as `nih.read_records` returns them.
        by_kind: kind of split -> as `splits.make_split` returns it; the kinds that the records
            allow.
        aurocs: as `controls.by_split` returns them for these splits.
        min_combination: see `nih.keep_common`.
        boxes, adjudicated: as their readers return them; None is said to be missing.
    """
    template, words = _NIH, {}
    if "source" in records:
        source = str(records["source"].iloc[0])
        never = [label(f) for f in FINDINGS if f not in sources.labelled(source)]
        template = _ANOTHER
        words = {
            "source": source,
            "title": sources.SOURCES[source].title,
            "ages": _ages(records["age"].dropna()),
            "unlabelled": f"It never labels {', '.join(never)}: learned as absent, and not judged."
            if never
            else "It labels all 14.",
        }
    films_of = records.groupby("patient_id").size()
    kept = nih.keep_common(records, min_combination=min_combination)
    clear = records["labels"] == NO_FINDING
    missing = int(records["age"].isna().sum())
    return template.format(
        **words,
        which=nih.identify(records),
        version=nih.version_in_words(records),
        relabelled=nih.RELABELLED,
        films=len(records),
        patients=len(films_of),
        singles=int((films_of == 1).sum()),
        most=films_of.max(),
        women=100 * (records["sex"] == "F").mean(),
        youngest=records["age"].min(),
        oldest=records["age"].max(),
        median_age=records["age"].median(),
        age_missing=f"{missing:,} ages are missing or impossible"
        if missing
        else "no age is missing or impossible",
        no_finding=int(clear.sum()),
        no_finding_share=100 * clear.mean(),
        combinations=records["labels"].nunique(),
        ap=100 * (records["view"] == "AP").mean(),
        min_combination=min_combination,
        kept=len(kept),
        lost=_lost(records, kept) if words else _lost(records, kept).replace(" are ", " are\n  "),
        kinds="".join(f"- {words}\n" for kind, words in _KINDS.items() if kind in by_kind),
        measured_biases="\n".join(
            textwrap.fill(item, 98, subsequent_indent="  ", break_long_words=False)
            for item in _measured_biases(records, by_kind, aurocs)
        ),
        findings=_findings(records),
        splits=_splits(records, by_kind),
        agreement=_agreement(records, adjudicated),
        boxes=_boxes(records, boxes),
    )


def _ages(age: pd.Series) -> str:
    if age.empty:
        return "no age is known"
    return f"ages run from {age.min()} to {age.max()} years, with a median of {age.median():.0f}"


def _lost(records: pd.DataFrame, kept: pd.DataFrame) -> str:
    """What leaving rare combinations out costs the two findings that lose most."""
    shown = records[list(FINDINGS)].sum()
    lost = 100 * (1 - kept[list(FINDINGS)].sum() / shown.where(shown > 0))
    most = lost[lost > 0].sort_values(ascending=False).head(2)
    if most.empty:
        return "No film of a finding is left out."
    told = " and ".join(f"{share:.0f} % of the {label(str(f))} films" for f, share in most.items())
    return f"Left out with the others are {told}."


def _measured_biases(
    records: pd.DataFrame, by_kind: Mapping[str, pd.Series], aurocs: pd.DataFrame
) -> list[str]:
    """One item for each bias that the splits at hand let one measure."""
    clear, ap = records["labels"] == NO_FINDING, records["view"] == "AP"
    films_of = records.groupby("patient_id").size()
    frequent = films_of[films_of > 10]
    items = [
        "- **Few patients have many films.** "
        f"{100 * frequent.sum() / len(records):.0f} % of the films are of the "
        f"{100 * len(frequent) / len(films_of):.0f} % of patients with more than ten films."
        if len(frequent)
        else f"- No patient has more than {films_of.max()} films.",
        f"- **The view may give findings away.** {record_conclusions.views(records)}",
    ]
    if "official" in by_kind:
        tested = by_kind["official"] == "test"
        ratio, no_finding, in_ap, pneumothorax = (
            (measure(tested), measure(~tested))
            for measure in (
                lambda films: films.sum() / records.loc[films, "patient_id"].nunique(),
                lambda films: 100 * clear[films].mean(),
                lambda films: 100 * ap[films].mean(),
                lambda films: 100 * records.loc[films, "Pneumothorax"].mean(),
            )
        )
        items[1] += (
            " View, age and sex alone, without any film, score a mean AUROC of "
            f"{aurocs.loc['Mean', 'view, age and sex, official']:.3f} on the official split."
        )
        items.append(
            "- **The official test list is another population.** "
            f"{ratio[0]:.1f} films per patient against {ratio[1]:.1f} elsewhere; No Finding on "
            f"{no_finding[0]:.1f} % of the films against {no_finding[1]:.1f} %; AP view on "
            f"{in_ap[0]:.1f} % against {in_ap[1]:.1f} %; Pneumothorax on {pneumothorax[0]:.1f} % "
            f"against {pneumothorax[1]:.1f} %."
        )
    if "original" in by_kind:
        items.append(
            "- **Splitting by film leaks.** Remembering each patient's training labels, without "
            "any film, scores a mean AUROC of "
            f"{aurocs.loc['Mean', 'patient memory, original']:.3f} on the `original` split."
        )
    return items


def _findings(records: pd.DataFrame) -> str:
    alone = records[list(FINDINGS)].sum(axis=1) == 1
    rows = []
    for finding in FINDINGS:
        with_it = records[records[finding] == 1]
        rows.append(
            f"| {label(finding)} | {len(with_it):,} | {100 * len(with_it) / len(records):.1f} "
            f"| {100 * alone[with_it.index].mean():.0f} | {with_it['patient_id'].nunique():,} "
            f"| {100 * (with_it['view'] == 'AP').mean():.0f} | {with_it['age'].median():.0f} |"
        )
    return "\n".join(rows)


def _splits(records: pd.DataFrame, by_kind: Mapping[str, pd.Series]) -> str:
    clear = records["labels"] == NO_FINDING
    rows = []
    for kind, split in by_kind.items():
        for part in split_checks.leakage(records, split).itertuples():
            share = 100 * clear[split.index[split == part.split]].mean()
            rows.append(
                f"| {kind} | {part.split} | {part.films:,} | {part.patients:,} "
                f"| {part.films_per_patient:.2f} | {share:.1f} "
                f"| {'' if part.split == 'train' else f'{100 * part.leaked:.1f}'} |"
            )
    return "\n".join(rows)


def _agreement(records: pd.DataFrame, adjudicated: pd.DataFrame | None) -> str:
    if adjudicated is None:
        return "\nThe radiologists' labels were not at hand.\n"
    adjudicated = adjudicated[adjudicated["film"].isin(records["film"])]
    if adjudicated.empty:
        return "\nRadiologists reviewed none of these films (Majkowska et al. 2020).\n"
    official = records["patient_id"].isin(splits.OFFICIAL_TEST_PATIENTS)
    rows = [
        f"| {row.label} | {group} | {row.films:,} | {row.labelled:,} | {row.present:,} "
        f"| {_percent(row.mined_ppv)} | {_percent(row.mined_sensitivity)} |"
        for group, films in (("all", records), ("in the official test list", records[official]))
        for row in radiologists.label_noise(films, adjudicated).itertuples()
    ]
    return (
        f"\nRadiologists reviewed {len(adjudicated):,} of the films (Majkowska et al. 2020). "
        'Against them, the mined\nlabels fare like this ("Airspace opacity" is compared with '
        "Consolidation, Infiltration,\nPneumonia or Edema; that is our reading):\n\n"
        "| label | films | number | labelled by NIH | present | confirmed (%) | found (%) |\n"
        "|---|---|--:|--:|--:|--:|--:|\n" + "\n".join(rows) + "\n"
    )


def _percent(share: float) -> str:
    return TOO_FEW if pd.isna(share) else f"{100 * share:.0f}"


def _boxes(records: pd.DataFrame, boxes: pd.DataFrame | None) -> str:
    if boxes is None:
        return "The finding boxes were not at hand.\n"
    boxes = boxes[boxes["film"].isin(records["film"])]
    if boxes.empty:
        return "No radiologist drew a box on any of these films.\n"
    counts = boxes["finding"].value_counts()
    listed = ", ".join(f"{label(finding)} {films}" for finding, films in counts.items())
    return (
        f"A radiologist drew {len(boxes):,} boxes on {boxes['film'].nunique():,} films "
        f"in the\n{nih.BOX_SPACE}-pixel space of the distributed films: {listed}.\n"
    )
