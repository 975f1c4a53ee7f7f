"""What 200 and 300 conclude from their tables: the words stay, every number is computed."""

from collections.abc import Iterable, Mapping

import pandas as pd

from cxr.config import PHANTOM_WEIGHTS
from cxr.evaluation import calibration
from cxr.findings import FINDINGS, label
from cxr.modelling import phantom_weights
from cxr.wording import with_interval


def learnable(parts: Mapping[str, pd.DataFrame], present: Iterable[str]) -> str:
    """Which findings no present film of a part shows.

    Args:
        parts: "train" and "validation" -> records of the split.
        present: names of the films that are present.
    """
    present, said = set(present), []
    for name, words, consequence in (
        ("train", "training", "no model can learn {}"),
        ("validation", "validation", "for {} no epoch is chosen and no threshold"),
    ):
        part = parts[name]
        shown = part.loc[part["film"].isin(present), list(FINDINGS)].any()
        absent = [label(finding) for finding in FINDINGS if not shown[finding]]
        if len(absent) == len(FINDINGS):
            said.append(
                f"**No {words} film shows any finding: {consequence.format('them')}.** Train with "
                "more films, or set `CXR_MIN_COMBINATION=0` in 100."
            )
        elif absent:
            whom = consequence.format("it" if len(absent) == 1 else "them")
            said.append(f"No {words} film shows {', '.join(absent)}: {whom}.")
    return " ".join(said) or "Training and validation show every finding."


def starts(runs: Iterable[Mapping]) -> str:
    """Where each model started from, and what that start is known to be worth.

    Args:
        runs: their `config.json`.
    """
    return "\n".join(f"- `{run['name']}`: {_start(run)}" for run in runs)


def _start(run: Mapping) -> str:
    if run["weights"] == "none":
        return "started from random weights."
    if run["weights"] != PHANTOM_WEIGHTS:
        return f"started from weights of `{run['weights']}`, learned elsewhere."
    made, gain = phantom_weights.origin(run["model"]), phantom_weights.gain(run["model"])
    measured = gain.pivot_table(index="seed", columns="weights", values="test_auroc")
    told = "; ".join(
        f"seed {seed}: {random:.3f} from random weights, {learned:.3f} from these"
        for seed, random, learned in measured[["none", PHANTOM_WEIGHTS]].itertuples()
    )
    return (
        f"started from weights that were learned from {made['patients']:,} other drawings, of "
        "made-up patients, as models of real films start from ImageNet's photographs, but nearer "
        "to the task: those drawings show the same signs. Mean AUROC on the demo's test films, "
        f"with nothing else different (`make weights`): {told}. Such weights know nothing of real "
        "films, and no model of these may start from them."
    )


def widths(auroc: pd.DataFrame) -> str:
    """Which findings are known best and worst, and for how many patients.

    Args:
        auroc: as `ranking.auroc_by_finding` returns it.
    """
    table = auroc[auroc["finding"].isin(FINDINGS)].dropna(subset=["low", "high"])
    if len(table) < 2:
        return "Too few findings have an interval to compare their widths."
    table = table.assign(width=table["high"] - table["low"]).sort_values("width")
    told = " and ".join(
        f"{label(row['finding'])} ({row['positive_patients']:,.0f} patients with it, width "
        f"{row['width']:.3f})"
        for _, row in table.iloc[[0, -1]].iterrows()
    )
    return f"The narrowest and the widest interval here are those of {told}."


def recalibrated(tables: Mapping[str, pd.DataFrame]) -> str:
    """Whether recalibration helped each model on the test films, whichever way it went.

    Args:
        tables: model -> the judge's table "calibration".
    """
    lines = []
    for name, table in tables.items():
        means = table[table["finding"] == "Mean"].set_index("scores")
        if not set(calibration.PREDICTED_AND_MENDED) <= set(means.index):
            lines.append(f"- `{name}` was not recalibrated.")
            continue
        before, after = (means.loc[when] for when in calibration.PREDICTED_AND_MENDED)
        if pd.isna(before["brier"]):
            lines.append(f"- `{name}`: too few patients of any finding to say what it did.")
            continue
        moved = " and ".join(
            f"the {words} {_went(before[measure], after[measure])}"
            for measure, words in (("brier", "Brier score"), ("distance", "distance |slope - 1|"))
        )
        lines.append(f"- `{name}`: on these test films {moved}.")
    return "\n".join(lines)


def _went(before: float, after: float) -> str:
    if pd.isna(before) or pd.isna(after):
        return "cannot be told"
    if round(before, 4) == round(after, 4):
        return f"stayed at {before:.4f}"
    return f"{'fell' if after < before else 'rose'} from {before:.4f} to {after:.4f}"


def answer(
    auroc: pd.DataFrame,
    name: str,
    controls: pd.DataFrame,
    elsewhere: Iterable[str] = (),
    *,
    phantoms: bool,
) -> str:
    """What the best model can and cannot be used for, in three sentences.

    Args:
        auroc: of that model, as `ranking.auroc_by_finding` returns it.
        name: of the model.
        controls: the judge's table "controls" of that model; may be empty.
        elsewhere: sources of other films that judged it, too.
        phantoms: whether the films are drawings.
    """
    by_finding = auroc.set_index("finding")
    mean, known = by_finding.loc["Mean"], by_finding.drop("Mean").dropna(subset=["auroc"])
    if known.empty or pd.isna(mean["auroc"]):
        return f"Too few patients of any finding were tested to say how well `{name}` works."
    better = [label(str(f)) for f in known.index[known["low"] > 0.5]]
    unknown = [label(f) for f in FINDINGS if label(f) not in better]
    means = controls[controls["finding"] == "Mean"] if len(controls) else controls
    blind = (
        means.set_index("scored_by")["auroc"].drop(name, errors="ignore")
        if len(means)
        else pd.Series()
    )
    beside = "; ".join(f"{words}: {value:.3f}" for words, value in blind.dropna().items())
    ranks = (
        f"`{name}` ranks films with a mean AUROC of {with_interval(mean)} over {len(known)} "
        f"finding{'s' * (len(known) != 1)}"
        f"{f'; scores that see no image: {beside}' if beside else ''}. "
    )
    sure = (
        f"It ranks better than chance, with the whole interval above 0.5, for {len(better)} of 14 "
        f"findings ({', '.join(better)})"
        + (f"; for {', '.join(unknown)} that has not been shown. " if unknown else ". ")
        if better
        else "For no finding is the whole interval above 0.5, so it has not been shown to rank "
        "better than chance. "
    )
    others = ", ".join(f"`{source}`" for source in elsewhere)
    abroad = (
        f"what it reaches on films of {others} stands above, and other hospitals were not tested."
        if others
        else "other hospitals were not tested."
    )
    use = (
        "These films are drawings, so this says that the pipeline works and nothing about people."
        if phantoms
        else "It can be used to study models and labels of this data set; it cannot be used to "
        f"diagnose, to rule out, or to choose whom to treat; {abroad}"
    )
    return ranks + sure + use
