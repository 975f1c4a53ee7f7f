"""How pages, figures and the command line spell a value and its interval."""

from collections.abc import Mapping

import pandas as pd

from cxr.findings import TOO_FEW


def with_interval(row: Mapping, name: str = "auroc", why: str = "") -> str:
    """A value with its interval, as in "0.702 (0.665 to 0.739)", or why there is none.

    Args:
        row: of a table of the judge: the value, its bounds (`<name>_low` and `<name>_high`, or
            else `low` and `high`), and perhaps `remark`.
        name: the value's column.
        why: said where there is no value; by default the row's remark, or too few patients.
    """
    if pd.isna(row[name]):
        return why or row.get("remark") or TOO_FEW
    own = f"{name}_" if f"{name}_low" in row else ""
    return spelled(row[name], row.get(f"{own}low"), row.get(f"{own}high"))


def spelled(value: float, low: float | None, high: float | None, form: str = ".3f") -> str:
    """A value and its bounds, each in `form`; without bounds, the value alone."""
    if pd.isna(low):
        return format(value, form)
    return f"{value:{form}} ({low:{form}} to {high:{form}})"


def counted(number: int, what: str) -> str:
    """As in "1 film" and "1,707 films"."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def percent(row: Mapping, name: str = "value") -> str:
    """A share with its interval, as in "28 % (22 to 36)"."""
    value, low, high = (100 * row[column] for column in (name, "low", "high"))
    return f"{value:.0f} % ({low:.0f} to {high:.0f})"


def mean_of(findings: int) -> str:
    """What a mean was taken over, as its remark."""
    return f"mean of {findings} finding{'s' * (findings != 1)}" if findings else TOO_FEW


def p_value(p: float) -> str:
    """A p value with four digits; one that these would make 0 is a bound."""
    return "n/a" if pd.isna(p) else "< 0.0001" if p < 1e-4 else f"{p:.4f}"


def figure(value: float, why: str = TOO_FEW) -> str:
    """A value with three digits, or why there is none."""
    return why if pd.isna(value) else f"{value:.3f}"


def in_percent(share: float) -> str:
    """A share, 0 to 1, as a reader expects it: 12 %, 1.3 %, 0.04 %, 99.6 %, less than 0.01 %.

    Never 0 % or 100 % for what is merely close to it.
    """
    value = 100 * share
    if 0 < value < 0.01:
        return "less than 0.01 %"
    if 99.9 < value < 100:
        return "more than 99.9 %"
    if value < 10:
        return f"{value:.2g} %"
    return f"{value:.1f} %".replace(".0", "") if value > 99 else f"{value:.0f} %"
