"""What notebooks conclude from their tables: the words stay, every number is computed."""

from collections.abc import Mapping

import pandas as pd

from cxr.evaluation import calibration
from cxr.findings import FINDINGS, NO_FINDING, label
from cxr.wording import with_interval


def alone_or_not(records: pd.DataFrame) -> str:
    """How many findings a film shows, and which combinations are the commonest.

    Args:
        records: as `nih.read_records` returns them.
    """
    found = records[list(FINDINGS)].sum(axis=1)
    ill = found > 0
    together = records.loc[found > 1, "labels"].value_counts().head(3)
    most = ", ".join(
        f"{' with '.join(map(label, names.split('|')))} ({n:,})" for names, n in together.items()
    )
    if not ill.any():
        return "None of these films shows a finding."
    single = 100 * (found == 1).sum() / ill.sum()
    return (
        f"Of the {ill.sum():,} films with a finding, {single:.1f} % "
        f"show exactly one, the others up to {found.max()}. The commonest combinations: "
        f"{most or 'none'}. Films that show several are why each finding gets its own sigmoid: "
        "one softmax over 14 classes would force a choice between findings that share a film."
    )


def women_and_men(records: pd.DataFrame) -> str:
    """Which findings are commoner on films of men, which on films of women."""
    rates = records.groupby("sex")[list(FINDINGS)].mean()
    rates = rates.loc[rates.index.isin(["M", "F"])]
    if len(rates) < 2 or (rates == 0).any(axis=None):
        return "These films are too few to compare women and men in every finding."
    ratio = (rates.loc["M"] / rates.loc["F"]).sort_values()
    if (ratio.round(2) == 1).all():
        return "No finding's share differs between films of women and of men."
    low = ", ".join(f"{label(name)} {value:.2f}" for name, value in ratio.head(3).items())
    high = ", ".join(f"{label(name)} {value:.2f}" for name, value in ratio.tail(3)[::-1].items())
    return (
        "Women and men differ: a finding's share of men's films divided by its share of women's "
        f"is highest for {high}, lowest for {low}."
    )


def persistence(records: pd.DataFrame) -> str:
    """How a finding's label goes from one film of a patient to the next."""
    ordered = records.sort_values(["patient_id", "follow_up"])
    before = ordered.groupby("patient_id")[list(FINDINGS)].shift()
    again = {f: ordered.loc[before[f] == 1, f].mean() for f in FINDINGS}
    anew = {f: ordered.loc[before[f] == 0, f].mean() for f in FINDINGS}
    known = [f for f in FINDINGS if pd.notna(again[f]) and anew[f] > 0]
    if not known:
        return "Too few patients have a second film to follow a label from film to film."
    most, least = max(known, key=again.get), min(known, key=again.get)  # type: ignore[arg-type]
    told = " and ".join(
        f"{label(f)} ({100 * again[f]:.0f} % after a film with it, {100 * anew[f]:.1f} % after "
        "one without)"
        for f in dict.fromkeys((most, least))
    )
    lasting = sum(again[f] > anew[f] for f in known)
    return (
        f"From one film of a patient to the next, {lasting} of {len(known)} labels are commoner "
        f"after a film with them than after one without; the extremes are {told}. Who recognises "
        "a patient could guess, which is why splits keep patients whole."
    )


def formats(records: pd.DataFrame) -> str:
    """What the detector's format gives away of the view."""
    shares = records.assign(ap=records["view"] == "AP").groupby(["width", "height"])["ap"]
    table = shares.agg(["size", "sum"]).sort_values("size", ascending=False)
    told = "; ".join(
        f"{width} × {height}: {ap:,} AP films of {size:,}"
        for (width, height), size, ap in table.head(3).itertuples()
    )
    guessed = table[["sum"]].assign(pa=table["size"] - table["sum"]).max(axis=1).sum()
    if not table["size"].sum():
        return "No film's size is known here, so nothing can be said of formats."
    films = table["size"].sum()
    most = max(table["sum"].sum(), films - table["sum"].sum())
    gained = 100 * (guessed - most) / films
    closing = (
        "whatever tells detectors apart also tells apart who could stand"
        if gained >= 5
        else "here the format says little of the view"
    )
    return (
        f"The commonest formats and the view: {told}. Guessing each film's view from its format "
        f"alone is right for {100 * guessed / films:.0f} % of the films, always guessing "
        f"the commoner view for {100 * most / films:.0f} %: {closing}."
    )


def rare_company(cost: pd.DataFrame) -> str:
    """What leaving rare combinations out costs the findings.

    Args:
        cost: one row per finding; columns "all films" and "lost (%)".
    """
    lost = cost["lost (%)"].dropna().sort_values()
    if lost.empty:
        return "No finding is shown here, so none can be lost."
    if lost.max() == 0:
        return "Nothing is lost here: all combinations are kept."
    rank = cost["all films"].corr(cost["lost (%)"], method="spearman")
    rarer = f" The rarer a finding, the more it loses (rank correlation {rank:.2f})."
    return (
        f"Between {lost.iloc[0]:.1f} % ({label(str(lost.index[0]))}) and {lost.iloc[-1]:.1f} % "
        f"({label(str(lost.index[-1]))}) of a finding's films are left out."
        + (rarer if rank < -0.5 else "")
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


def answer(auroc: pd.DataFrame, name: str, controls: pd.DataFrame, *, phantoms: bool) -> str:
    """What the best model can and cannot be used for, in three sentences.

    Args:
        auroc: of that model, as `ranking.auroc_by_finding` returns it.
        name: of the model.
        controls: the judge's table "controls" of that model; may be empty.
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
        f"findings ({', '.join(better) or 'none'})"
        + (f"; for {', '.join(unknown)} that has not been shown. " if unknown else ". ")
    )
    use = (
        "These films are drawings, so this says that the pipeline works and nothing about people."
        if phantoms
        else "It can be used to study models and labels of this data set; it cannot be used to "
        "diagnose, to rule out, or to choose whom to treat, and other hospitals were not tested."
    )
    return ranks + sure + use


def silent_disease(records: pd.DataFrame, adjudicated: pd.DataFrame | None) -> str:
    """How many films mined as No Finding show something to radiologists.

    Args:
        records: as `nih.read_records` returns them.
        adjudicated: as `nih.read_adjudicated` returns it; None without these readings.
    """
    if adjudicated is None:
        return "Without the radiologists' labels, this cannot be told here."
    none = set(records.loc[records["labels"] == NO_FINDING, "film"])
    seen = adjudicated[adjudicated["film"].isin(none)]
    readings = seen.select_dtypes(["number", "bool"])
    if seen.empty:
        return "None of the films mined as No Finding was adjudicated."
    share = (readings == 1).any(axis=1).mean()
    return (
        f"Of {len(seen):,} adjudicated film{'s' * (len(seen) != 1)} mined as No Finding, "
        f"{100 * share:.1f} % show at "
        'least one of the four findings to radiologists: "No Finding" is not "normal".'
    )
