"""What an evaluation's tables say, in sentences, each of which its numbers decide."""

from collections.abc import Mapping, Sequence

import pandas as pd

from cxr.findings import FINDINGS, TOO_FEW, label
from cxr.publish.results import Results
from cxr.wording import spelled, with_interval

# Scores without a film, which a model has to beat before it can be said to read films.
_BLIND = "view, age and sex"


def conclude(
    name: str, tables: Mapping[str, Mapping[str, pd.DataFrame]], *, split: str, phantoms: bool
) -> str:
    """The answer to an evaluation's question, as Markdown.

    Args:
        name: the run that the answer is about.
        tables: kind -> run -> frame, as `judge.judge_models` returns them.
        split: the kind of split of the test films.
        phantoms: whether the films are drawn.
    """
    by_finding = tables["auroc"][name].set_index("finding")
    mean, by_finding = by_finding.loc["Mean"], by_finding.drop("Mean")
    shown = by_finding[by_finding["low"] > 0.5].index
    judged = by_finding.index[by_finding["auroc"].notna()]
    unknown = by_finding.index.difference(judged, sort=False)
    kind = "phantom" if phantoms else "test"
    sentences = [
        f"**How well?** Of a film with a finding and one without it, `{name}` gives the higher "
        f"score to the right one with probability {with_interval(mean)}, on average over "
        f"{len(judged)} findings, on {int(mean['films']):,} {kind} films of "
        f"{int(mean['patients']):,} patients (split `{split}`).",
        f"**Which findings?** {_listed(shown, 'are')} ranked better than by chance, by the whole "
        f"interval. {_listed(judged.difference(shown, sort=False), 'are')} not shown to be. "
        f"{_listed(unknown, 'have')} {TOO_FEW}: nothing is known of them.",
    ]
    if name in tables.get("controls", {}):
        sentences.append(_beyond_the_blind(tables["controls"][name], by_finding))
    if name in tables.get("calibration", {}):
        sentences.append(_worth_of_probabilities(tables["calibration"][name]))
    sentences.append(
        "**For what?** For research: to compare models, and to find what to test next. Not for "
        "the care of anybody: the labels are text-mined, the films come from one hospital, and a "
        "film below every threshold is not normal."
        + (" And these films are drawings: no number here says anything of real ones." * phantoms)
    )
    return "\n\n".join(sentences)


def _beyond_the_blind(ladder: pd.DataFrame, by_finding: pd.DataFrame) -> str:
    blind = ladder[ladder["scored_by"] == _BLIND].set_index("finding").reindex(by_finding.index)
    better = by_finding.index[by_finding["low"] > blind["high"]]
    return (
        f"**What does the image add?** {_listed(better, 'are')} ranked better than {_BLIND} rank "
        "them, with intervals that do not meet. For the others the films may add something; these "
        "do not show it."
    )


def _worth_of_probabilities(measures: pd.DataFrame) -> str:
    means = measures[measures["finding"] == "Mean"].set_index("scores")
    told = [
        f"{when} {spelled(row['skill'], row['skill_low'], row['skill_high'])}"
        for when, row in means.iterrows()
    ]
    return (
        "**What are its probabilities worth?** Their mean skill over the prevalence as everybody's "
        f"probability, which has 0: {'; '.join(told)}."
    )


def _listed(findings: Sequence[str], verb: str) -> str:
    names = [label(finding) for finding in findings]
    if len(names) == len(FINDINGS):
        return f"All {len(names)} findings {verb}"
    if not names:
        return f"No finding {'is' if verb == 'are' else 'has'}"
    if len(names) == 1:
        return f"{names[0]} {'is' if verb == 'are' else 'has'}"
    return f"{', '.join(names[:-1])} and {names[-1]} {verb}"


def headline(found: Results) -> str:
    """The result of a run, in one sentence."""
    best = found.best()
    return (
        f"{found.named()[best.name]} ranks best on validation films; mean AUROC on the test films "
        f"{with_interval(found.mean(best.name))}, 0.5 is guessing ({found.provenance()})."
    )
