"""What notebook 100 concludes from the records: the words stay, every number is computed.

Each answer has to be true of NIH's whole table, of a part of it, and of another hospital's
films; what so few films show that it may be luck is not said.
"""

import itertools
from collections.abc import Mapping

import numpy as np
import pandas as pd

from cxr.evaluation import ranking
from cxr.findings import FINDINGS, NO_FINDING, label
from cxr.records.splits import NAMES, proportional_sizes

# Films that a share or a median must rest on, and films of two findings together.
FEWEST_FILMS = 20

# Lift that still reads as one with a digit after the point.
_ABOVE_CHANCE = 1.05

# Where late films begin: a patient's ninth.
_LATE = 8


def alone_or_not(records: pd.DataFrame) -> str:
    """How many findings a film shows, and which combinations are the commonest.

    Args:
        records: as `sources.load` returns them; so for the functions below.
    """
    found = records[list(FINDINGS)].sum(axis=1)
    ill = found > 0
    films = int(ill.sum())
    together = records.loc[found > 1, "labels"].value_counts().head(3)
    most = ", ".join(
        f"{' with '.join(map(label, names.split('|')))} ({n:,})" for names, n in together.items()
    )
    if not ill.any():
        return "None of these films shows a finding."
    shown = f"Of the {films:,} film{'s' * (films != 1)} with a finding, "
    sigmoid = (
        "each finding gets its own sigmoid: one softmax over 14 classes would force a choice "
        "between findings that share a film."
    )
    if not most:
        return shown + f"none shows a second one here. Elsewhere films do, so {sigmoid}"
    single = 100 * (found == 1).sum() / films
    return (
        f"{shown}{single:.1f} % show exactly one, the others up to {found.max()}. The commonest "
        f"combinations: {most}. Films that show several are why {sigmoid}"
    )


def company(records: pd.DataFrame) -> str:
    """Which findings meet most above chance."""
    targets = records[list(FINDINGS)].to_numpy(np.int64)
    together, pairs = targets.T @ targets, []
    for one, other in itertools.combinations(range(len(FINDINGS)), 2):
        both = int(together[one, other])
        if both >= FEWEST_FILMS:
            expected = together[one, one] * together[other, other] / len(targets)
            pairs.append((both / expected, both, FINDINGS[one], FINDINGS[other]))
    if not pairs or max(pairs)[0] < _ABOVE_CHANCE:
        return (
            f"No two findings meet oftener than by chance on {FEWEST_FILMS} films here, so of "
            "their company nothing is concluded."
        )
    told = " and ".join(
        f"{label(one)} with {label(other)} ({lift:.1f} times as often as by chance, on "
        f"{both:,} films)"
        for lift, both, one, other in sorted(pairs, reverse=True)[:2]
        if lift >= _ABOVE_CHANCE
    )
    return (
        f"Furthest above chance: {told}. A model can score on one by recognising the other; 300 "
        "looks at each finding by itself."
    )


def returning(records: pd.DataFrame) -> str:
    """How films are divided among patients with one and with several."""
    films_of = records.groupby("patient_id").size()
    several = films_of[films_of > 1]
    if several.empty:
        return (
            "Each patient that these records name has one film, so here a split of films is one "
            "of patients, as far as they tell."
        )
    return (
        f"{100 * (films_of == 1).mean():.0f} % of the patients have one film, but "
        f"{100 * several.sum() / len(records):.0f} % of the films are of the others. Whoever "
        "divides films instead of patients puts the same people on both sides."
    )


def later(records: pd.DataFrame) -> str:
    """What is commoner on a patient's late films than on first ones."""
    first, late = records["follow_up"] == 0, records["follow_up"] >= _LATE
    shown = records[list(FINDINGS)].assign(**{NO_FINDING: records["labels"] == NO_FINDING})
    enough = (shown[first].sum() >= FEWEST_FILMS) & (shown[late].sum() >= FEWEST_FILMS)
    known = [finding for finding in FINDINGS if enough[finding]]
    if not known:
        return (
            "Too few patients have nine films, or too few of these show anything, to compare late "
            "films with first ones."
        )
    ratio = (shown[late].mean() / shown[first].mean())[known].sort_values(ascending=False)
    told = ", ".join(
        f"{label(str(f))} {f'is {value:.1f} times as common as on first ones' if not place else ''}"
        f"{f'{value:.1f} times' if place else ''}"
        for place, (f, value) in enumerate(ratio.head(4).items())
    )
    clear = 100 * shown.loc[first, NO_FINDING].mean(), 100 * shown.loc[late, NO_FINDING].mean()
    return (
        f"On films from a patient's ninth on, {told}. The share "
        f"of No Finding {_went(*clear)}. What differs so between few and many films of a patient "
        "has to be in proportion in every part, so a split is balanced in films per patient, too."
    )


def _went(before: float, after: float) -> str:
    """From one share (%) to another."""
    if round(before) == round(after):
        return f"stays at {before:.0f} %"
    return f"{'falls' if after < before else 'rises'} from {before:.0f} to {after:.0f} %"


def persistence(records: pd.DataFrame) -> str:
    """How a finding's label goes from one film of a patient to the next."""
    ordered = records.sort_values(["patient_id", "follow_up"])
    before = ordered.groupby("patient_id")[list(FINDINGS)].shift()
    known = [
        f for f in FINDINGS if min((before[f] == 1).sum(), (before[f] == 0).sum()) >= FEWEST_FILMS
    ]
    again = {f: ordered.loc[before[f] == 1, f].mean() for f in known}
    anew = {f: ordered.loc[before[f] == 0, f].mean() for f in known}
    if not known:
        return (
            f"Too few films, less than {FEWEST_FILMS}, follow one with a label or one without it, "
            "so how labels go from film to film is not told here."
        )
    most, least = max(known, key=again.get), min(known, key=again.get)  # type: ignore[arg-type]
    told = " and ".join(
        f"{label(f)} ({100 * again[f]:.0f} % after a film with it, {100 * anew[f]:.1f} % after "
        "one without)"
        for f in dict.fromkeys((most, least))
    )
    lasting = sum(again[f] > anew[f] for f in known)
    if len(known) == 1:
        return (
            f"Only {label(most)} is followed by {FEWEST_FILMS} films of the same patients: it is "
            f"on {100 * again[most]:.0f} % of films after one with it, and on "
            f"{100 * anew[most]:.1f} % after one without. Splits keep patients whole, so that "
            "nobody has to ask how much of this a model could use."
        )
    of_known = f"{lasting} of {len(known)} labels"
    closing = (
        " Who recognises a patient could guess, which is why splits keep patients whole."
        if lasting > len(known) / 2
        else ""
    )
    return (
        f"From one film of a patient to the next, {of_known} that at least {FEWEST_FILMS} films "
        f"follow {'is' if lasting == 1 else 'are'} commoner after a film with them than after one "
        f"without; the extremes are {told}.{closing}"
    )


def ages(records: pd.DataFrame) -> str:
    """Which findings the oldest and the youngest patients have."""
    age = records["age"].astype("float64")
    medians = pd.Series(
        {
            finding: age[records[finding] == 1].median()
            for finding in FINDINGS
            if age[records[finding] == 1].count() >= FEWEST_FILMS
        },
        dtype=float,
    )
    if len(medians) < 2:
        return "For too many films no age or no finding is known, so ages are not compared here."
    old, young = medians.idxmax(), medians.idxmin()
    if medians[old] == medians[young]:
        return (
            f"Patients of all {len(medians)} findings with enough films have the same median age, "
            f"{medians[old]:.0f} years. Age is still a control further down."
        )
    return (
        f"Oldest are the patients with {label(str(old))} (median {medians[old]:.0f} years), "
        f"youngest those with {label(str(young))} ({medians[young]:.0f}); over all films the "
        f"median is {age.median():.0f}. Age is one of the things that a model can read off a film, "
        "so it is a control further down."
    )


def women_and_men(records: pd.DataFrame) -> str:
    """Which findings are commoner on films of men, which on films of women."""
    sexes = records.groupby("sex")[list(FINDINGS)]
    films, rates = sexes.sum().reindex(["M", "F"]), sexes.mean().reindex(["M", "F"])
    known = films.columns[(films >= FEWEST_FILMS).all()]
    if len(known) < 2:
        return "These films are too few to compare women and men in single findings."
    ratio = (rates.loc["M"] / rates.loc["F"])[known].sort_values()
    if (ratio.round(2) == 1).all():
        return "No finding's share differs between films of women and of men."
    if ratio.iloc[0].round(2) == ratio.iloc[-1].round(2):
        return (
            f"The share of each of the {len(known)} findings with enough films is on men's films "
            f"{ratio.iloc[0]:.2f} times what it is on women's."
        )
    ends = min(3, len(ratio) // 2)
    low = ", ".join(f"{label(name)} {value:.2f}" for name, value in ratio.head(ends).items())
    high = ", ".join(f"{label(name)} {value:.2f}" for name, value in ratio.tail(ends)[::-1].items())
    left = "" if len(known) == len(FINDINGS) else f", of {len(known)} findings with enough films,"
    return (
        "On these films, a finding's share of men's films divided by its share of women's"
        f"{left} is highest for {high}, lowest for {low}."
    )


def views(records: pd.DataFrame) -> str:
    """Which findings' films are taken from the front."""
    known = records[records["view"].isin(["AP", "PA"])]
    ap = known["view"] == "AP"
    if ap.all() or not ap.any():
        return "The views of these films are all the same or not known, so they tell nothing."
    shares = pd.Series(
        {f: 100 * ap[known[f] == 1].mean() for f in FINDINGS if known[f].sum() >= FEWEST_FILMS},
        dtype=float,
    )
    if len(shares) < 2:
        return "Too few films show a finding to say whether the view gives it away."
    most, least = shares.idxmax(), shares.idxmin()
    if round(shares[most]) == round(shares[least]):
        return (
            f"{100 * ap.mean():.0f} % of all films with a known view are AP, and so are "
            f"{shares[most]:.0f} % of those with each finding. Here, it does not."
        )
    closing = (
        "It does: a model that only tells the two views apart ranks such findings better than "
        "chance."
        if shares.max() - shares.min() >= 10
        else "Here, it hardly does."
    )
    return (
        f"{100 * ap.mean():.0f} % of all films with a known view are AP, but {shares[most]:.0f} % "
        f"of those with {label(str(most))} and {shares[least]:.0f} % of those with "
        f"{label(str(least))}. {closing}"
    )


def formats(records: pd.DataFrame) -> str:
    """What the films' first format was, and what it gives away of the view."""
    known = records[(records["width"] > 0) & (records["height"] > 0)]
    if known.empty:
        return "These records do not tell the films' first format, so nothing is said of it."
    shares = known.assign(ap=known["view"] == "AP").groupby(["width", "height"])["ap"]
    table = shares.agg(["size", "sum"]).sort_values("size", ascending=False)
    told = "; ".join(
        f"{width} × {height}: {ap:,} AP films of {size:,}"
        for (width, height), size, ap in table.head(3).itertuples()
    )
    films = table["size"].sum()
    counts = table[["sum"]].assign(pa=table["size"] - table["sum"])
    common = table["size"] >= FEWEST_FILMS
    commoner = counts.sum().idxmax()
    most = counts[commoner].sum()
    # Of a rare format nothing is known: there, too, the commoner view is guessed.
    guessed = counts[common].max(axis=1).sum() + counts.loc[~common, commoner].sum()
    gained = 100 * (guessed - most) / films
    closing = (
        "whatever tells detectors apart also tells apart who could stand"
        if gained >= 5
        else "here the format says little of the view"
    )
    oblong = 100 * (known["width"] != known["height"]).mean()
    return (
        f"{oblong:.0f} % of the films were not square, so their aspect ratio was changed, and a "
        "heart may look wider or narrower than it was. "
        f"The commonest formats and the view: {told}. Guessing each film's view from its format "
        f"alone is right for {100 * guessed / films:.0f} % of the films, always guessing "
        f"the commoner view for {100 * most / films:.0f} %: {closing}."
    )


def confirmed(noise: Mapping[str, pd.DataFrame]) -> str:
    """How many mined labels radiologists confirm, and how much of what they see was mined.

    Args:
        noise: group of films -> as `radiologists.label_noise` returns it; the first is told.
    """
    table = next(iter(noise.values()), pd.DataFrame())
    films = int(table["films"].max()) if len(table) else 0
    enough = table[table[["labelled", "present"]].min(axis=1) >= FEWEST_FILMS] if films else table
    if not films or enough.empty:
        return (
            f"{films or 'None'} of these films {'was' if films < 2 else 'were'} adjudicated, too "
            "few to judge the labels by. Of NIH's whole table 4,376 were; its data card tells how "
            "many labels they confirm."
        )
    told = "; ".join(
        f"{row.label}: {100 * row.confirmed / row.labelled:.0f} % of {row.labelled:,} labels are "
        f"confirmed, and {100 * row.confirmed / row.present:.0f} % of {row.present:,} that were "
        "seen are labelled"
        for row in enough.itertuples()
    )
    return (
        f"On {films:,} adjudicated films, against what radiologists see: {told}. No model can be "
        "measured more finely than its labels allow."
    )


def silent_disease(records: pd.DataFrame, adjudicated: pd.DataFrame | None) -> str:
    """How many films mined as No Finding show something to radiologists.

    Args:
        records: as `sources.load` returns them.
        adjudicated: as `nih.read_adjudicated` returns it; None without these readings.
    """
    if adjudicated is None:
        return "Without the radiologists' labels, this cannot be told here."
    none = set(records.loc[records["labels"] == NO_FINDING, "film"])
    seen = adjudicated[adjudicated["film"].isin(none)]
    if len(seen) < FEWEST_FILMS:
        return (
            f"{len(seen) or 'None'} of the films mined as No Finding "
            f"{'was' if len(seen) < 2 else 'were'} adjudicated, too few to say what they show."
        )
    readings = seen.select_dtypes(["number", "bool"])
    share = (readings == 1).any(axis=1).mean()
    closing = ': "No Finding" is not "normal"' if share > 0 else ""
    return (
        f"Of {len(seen):,} adjudicated films mined as No Finding, {100 * share:.1f} % show at "
        f"least one of the four findings to radiologists{closing}."
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
    gone = [label(str(finding)) for finding in lost.index[lost == 100]]
    if len(gone) == len(lost):
        return (
            "**No film with a finding is left**: none of these combinations is common enough in "
            "so few films, and nothing can be learned. Set `CXR_MIN_COMBINATION=0` and start "
            "again."
        )
    told = (
        f"Between {lost.iloc[0]:.1f} % ({label(str(lost.index[0]))}) and {lost.iloc[-1]:.1f} % "
        f"({label(str(lost.index[-1]))}) of a finding's films are left out."
        if lost.iloc[0] < lost.iloc[-1]
        else f"{lost.iloc[0]:.1f} % of every finding's films are left out."
    )
    if gone:
        told += (
            f" **Nothing is left of {', '.join(gone)}**: with so few films, "
            "`CXR_MIN_COMBINATION=0` keeps them."
        )
    elif lost.iloc[0] < lost.iloc[-1]:
        rank = cost["all films"].corr(cost["lost (%)"], method="spearman")
        if rank < -0.5:
            told += f" The rarer a finding, the more it loses (rank correlation {rank:.2f})."
    return told


def leaked(leakages: Mapping[str, pd.DataFrame]) -> str:
    """Of which splits training knows the test patients.

    Args:
        leakages: kind of split -> as `split_checks.leakage` returns it.
    """
    shares = {kind: table.set_index("split")["leaked"]["test"] for kind, table in leakages.items()}
    apart = [f"`{kind}`" for kind, share in shares.items() if share == 0]
    shared = [f"`{kind}` {100 * share:.1f} %" for kind, share in shares.items() if share > 0]
    told = [f"No test film of {', '.join(apart)} is of a patient in train."] if apart else []
    if shared:
        told.append(f"Of the test films of {', '.join(shared)} are of a patient in train.")
    return " ".join(told)


def balanced(balances: Mapping[str, pd.DataFrame]) -> str:
    """How far the patient split and its rivals are from proportion.

    Args:
        balances: splitter -> as `split_checks.balance` returns it; the project's is "patient".
    """
    worst = {
        name: table["deviation"].abs().groupby(table["trait"]).max().drop("Patients")
        for name, table in balances.items()
    }
    people = next(iter(worst.values())).index.str.startswith("Patients")
    names = ", ".join(f"`{name}`" for name in worst)
    most, half, patients = (
        " / ".join(f"{measure(off):,.{digits}f}" for off in worst.values())
        for measure, digits in (
            (lambda off: off[~people].max(), 0),
            (lambda off: off[~people].median(), 1),
            (lambda off: off[people].max(), 0),
        )
    )
    return (
        f"In the order {names}: the trait that is furthest from proportion is off by {most} films "
        f"in some part, the median trait by {half}; the patients with a finding, on whom the "
        f"intervals of 300 rest, by {patients} at most. {_sizes_met(balances['patient'])}; "
        "the table above holds those of the others."
    )


def _sizes_met(balance: pd.DataFrame) -> str:
    """Whether the patient split has the wanted sizes; every film is in one band of ages."""
    bands = balance[balance["trait"].str.startswith("Age ")]
    sizes = bands.groupby("split")["films"].sum()
    wanted = proportional_sizes(int(sizes.sum()))
    off = {name: int(sizes[name]) - films for name, films in wanted.items()}
    if not any(off.values()):
        return "`patient` has exactly the wanted sizes"
    return (
        "No division of whole patients with the wanted sizes was found; `patient` is off by "
        + ", ".join(f"{films:+,} films in {name}" for name, films in off.items())
    )


def official_shift(records: pd.DataFrame, by_kind: Mapping[str, pd.Series]) -> str:
    """How far NIH's test list is from the other films.

    Args:
        by_kind: kind of split -> as `splits.make_split` returns it.
    """
    if "official" not in by_kind:
        return "These records allow no official split, so there is nothing to compare."
    tested = by_kind["official"] == "test"
    films = records.loc[tested.index]
    test, rest = films[tested], films[~tested]
    ratio = test[list(FINDINGS)].mean() / rest[list(FINDINGS)].mean()
    per_patient, ap = (
        tuple(measure(part) for part in (test, rest))
        for measure in (
            lambda part: len(part) / part["patient_id"].nunique(),
            lambda part: 100 * (part["view"] == "AP").mean(),
        )
    )
    return (
        f"In the test list a patient has {per_patient[0]:.1f} films, in the rest "
        f"{per_patient[1]:.1f}; {ap[0]:.0f} % of its films are AP, of the rest {ap[1]:.0f} %; "
        f"{(ratio > 1).sum()} of 14 findings are commoner in it, and over all 14 the median "
        f"factor is {ratio.median():.1f}. A model can be expected to score otherwise there than "
        "on other patients that it has not seen, and thresholds chosen elsewhere to miss their "
        "mark."
    )


def without_looking(study: pd.DataFrame) -> str:
    """What can be scored without an image, as the mark that models have to beat.

    Args:
        study: as `controls.by_split` returns it.
    """
    means, judged = study.loc["Mean"].dropna(), study.drop(index="Mean").notna().sum()
    if means.empty:
        return (
            "Too few patients of any finding are in the test parts, so what can be scored without "
            "looking is not known here."
        )
    memory = {k.split(", ")[-1]: v for k, v in means.items() if str(k).startswith("patient memory")}
    known = ", ".join(f"{v:.3f} on `{kind}`" for kind, v in memory.items() if v != 0.5)
    sighted = ", ".join(
        f"{v:.3f} on `{str(k).split(', ')[-1]}`"
        for k, v in means.items()
        if str(k).startswith("view")
    )
    remembered = (
        f"Remembering people scores a mean of {known}, and 0.5 wherever patients are kept apart: "
        "that much of a score by film may be recognition of people. "
        if known
        else "Remembering people scores 0.5, since no split here shares patients. "
    )
    traits = "View, age and sex are not known well enough here to score by. "
    if sighted:
        most = int(judged.max())
        traits = (
            f"View, age and sex score {sighted} "
            f"(means of up to {most} finding{'s' * (most != 1)}). "
        )
    return (
        f"{remembered}{traits}A model has to beat what can be had so before it can be said to "
        "read films."
    )


def flattened(records: pd.DataFrame, by_kind: Mapping[str, pd.Series]) -> str:
    """What a constant guess of each finding's prevalence scores, all findings in one AUC."""
    told = {}
    for kind, split in by_kind.items():
        test = records.loc[split.index[split == NAMES[-1]], list(FINDINGS)]
        told[kind] = ranking.flat(test.to_numpy())
    known = ", ".join(f"{v:.3f} on `{kind}`" for kind, v in told.items() if pd.notna(v))
    if not known:
        return "No test film here shows a finding, so a flattened AUC does not exist."
    return (
        f"The constant guess scores {known}. Knowing which findings are common and which are rare "
        "is enough: flattened AUCs start there and not at 0.5, so this project never reports one "
        "as a result."
    )
