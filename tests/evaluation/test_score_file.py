"""Odd files of anybody's scores: each judged, warned about, or refused in a sentence."""

import gzip
import pickle

import numpy as np
import pandas as pd
import pytest

from cxr.errors import InputError
from cxr.evaluation import score_file
from cxr.findings import FINDINGS

FILMS = 40


@pytest.fixture(scope="module")
def plain():
    """Scores of 40 films, to four digits, and `film` in front."""
    random = np.random.default_rng(0)
    table = pd.DataFrame(random.random((FILMS, 14)).round(4), columns=list(FINDINGS))
    table.insert(0, "film", [f"{n:08d}_000.png" for n in range(1, FILMS + 1)])
    return table


def csv(table, path, **options):
    table.to_csv(path, index=False, **options)


def renamed(pattern, film="film"):
    names = {finding: pattern.format(finding) for finding in FINDINGS}
    return lambda table, path: csv(table.rename(columns=names | {"film": film}), path)


def shuffled(table, path):
    csv(table.sample(frac=1, random_state=1)[list(table)[::-1]], path)


def spaced(table, path):
    csv(table.rename(columns=lambda c: f" {c.replace('_', ' ')} "), path)


def compressed(table, path):
    path.write_bytes(gzip.compress(table.to_csv(index=False).encode()))


def parquet(table, path):
    table.to_parquet(path, index=False)


def parquet_by_film(table, path):
    table.set_index("film").to_parquet(path)


def named(change):
    return lambda table, path: csv(table.assign(film=change(table["film"])), path)


def beside_labels(pattern, labels="{}"):
    def write(table, path):
        marked = table.rename(columns={f: pattern.format(f) for f in FINDINGS})
        truth = (table[list(FINDINGS)] > 0.8).astype(int)
        csv(pd.concat([marked, truth.rename(columns=lambda f: labels.format(f))], axis=1), path)

    return write


def decimal_commas(table, path):
    csv(table, path, sep=";", decimal=",")


def with_bom(table, path):
    path.write_bytes(b"\xef\xbb\xbf" + table.to_csv(index=False).encode())


def with_windows_lines(table, path):
    path.write_bytes(table.to_csv(index=False, lineterminator="\r\n").encode())


def without_last_break(table, path):
    path.write_text(table.to_csv(index=False)[:-1])


def labels_twice(table, path):
    truth = (table[list(FINDINGS)] > 0.8).astype(int)
    csv(
        pd.concat(
            [
                table.set_axis(["film", *(f"y_pred_{f}" for f in FINDINGS)], axis=1),
                truth,
                truth.add_prefix("y_true_"),
            ],
            axis=1,
        ),
        path,
    )


def truth_values(table, path):
    truth = table[list(FINDINGS)] > 0.8
    csv(pd.concat([table.rename(columns={f: f"prob_{f}" for f in FINDINGS}), truth], axis=1), path)


def gzipped_parquet(table, path):
    path.write_bytes(gzip.compress(table.to_parquet(index=False)))


def parquet_with_lists(table, path):
    table.assign(embedding=[[0.1, 0.2]] * FILMS).to_parquet(path)


def beside_others(table, path):
    csv(table.assign(patient_id=1, age=50, comment="seen, twice", No_Finding=0.5), path)


# Each of these gives the very scores of `plain`; the words are what is said beside.
JUDGED = [
    ("as this project writes them", csv, []),
    ("NIH's own name for the films", renamed("{}", "Image Index"), []),
    ("underscores for blanks", renamed("{}", "image_index"), ["'image_index'"]),
    ("a column called filename", renamed("{}", "filename"), ["'filename'"]),
    ("an index column without a name", renamed("{}", ""), ["''"]),
    ("prob_ before the findings", renamed("prob_{}"), ["'prob_<finding>'"]),
    ("_prob behind the findings", renamed("{}_prob"), ["'<finding>_prob'"]),
    ("pred behind a hyphen", renamed("{}-pred"), ["'<finding>_pred'"]),
    ("brackets around a word", renamed("{} (score)"), ["'<finding>_score'"]),
    ("a word that nobody knows", renamed("net7_{}"), ["'net7_<finding>'"]),
    ("small letters", lambda t, p: csv(t.rename(columns=str.lower), p), []),
    ("blanks around and within names", spaced, []),
    ("another order of rows and columns", shuffled, []),
    ("tabs", lambda t, p: csv(t, p, sep="\t"), []),
    ("semicolons", lambda t, p: csv(t, p, sep=";"), []),
    ("semicolons and decimal commas", decimal_commas, ["decimal points"]),
    ("gzip under any name", compressed, []),
    ("Parquet", parquet, []),
    ("Parquet with the films as index", parquet_by_film, []),
    ("a byte order mark", with_bom, []),
    ("Windows line ends", with_windows_lines, []),
    ("a last line that does not end", without_last_break, ["may be wrong"]),
    ("films in a folder", named(lambda f: "images/" + f), ["40 film name(s)", "images/"]),
    ("films in a Windows folder", named(lambda f: "C:\\nih\\" + f), ["40 film name(s)"]),
    ("films without .png", named(lambda f: f.str[:-4]), ["taken as '00000001_000.png'"]),
    ("labels beside prob_", beside_labels("prob_{}"), ["labels or decisions and left aside"]),
    ("label_ beside plain scores", beside_labels("{}", "label_{}"), ["left aside: 'label_Atel"]),
    ("y_true and plain labels beside y_pred", labels_twice, ["y_pred_<finding>"]),
    ("labels of truth values", truth_values, ["left aside: 'Atelectasis'"]),
    ("columns that are no findings", beside_others, []),
    ("Parquet with vectors beside", parquet_with_lists, []),
    ("gzipped Parquet", gzipped_parquet, []),
    ("films with a large .PNG", named(lambda f: f.str.replace("png", "PNG")), ["40 film name"]),
]


def doubled_header(table, path):
    path.write_text(table.to_csv(index=False).replace("Nodule", "Mass", 1))


def one_prefixed(table, path):
    csv(table.rename(columns={"Hernia": "prob_Hernia"}), path)


def two_networks(table, path):
    other = table[list(FINDINGS)].add_prefix("b_") / 2
    csv(pd.concat([table.rename(columns={f: f"a_{f}" for f in FINDINGS}), other], axis=1), path)


def raw_beside_prob(table, path):
    csv(pd.concat([table, table[list(FINDINGS)].add_prefix("prob_") / 2], axis=1), path)


def two_film_columns(table, path):
    csv(table.assign(**{"Image Index": table["film"]}), path)


def cell(column, row, value):
    def write(table, path):
        changed = table.astype({column: object})
        changed.loc[row, column] = value
        csv(changed, path)

    return write


def scaled(change):
    return lambda table, path: csv(table.assign(Mass=change(table["Mass"])), path)


def long_format(table, path):
    csv(table.melt("film", var_name="finding", value_name="score"), path)


def too_long_a_line(table, path):
    lines = table.to_csv(index=False).splitlines()
    lines[3] += ",0.5"
    path.write_text("\n".join(lines))


def trailing_delimiters(table, path):
    # All rows longer than the header: pandas would shift every column by one.
    header, *rows = table.assign(note=0.5).to_csv(index=False).splitlines()
    path.write_text("\n".join([header, *(row + ",," for row in rows)]))


def open_quote(table, path):
    path.write_text('"' + table.to_csv(index=False))


def comment_above(table, path):
    path.write_text("# the last epoch\n" + table.to_csv(index=False))


def parquet_with_a_gap(table, path):
    gap = pd.array([None, *table["Mass"].iloc[1:]], dtype="Float64")
    table.assign(Mass=gap).to_parquet(path)


def parquet_film_twice(table, path):
    table.set_index("film", drop=False).to_parquet(path)


def parquet_broken_inside(table, path):
    data = table.to_parquet()
    path.write_bytes(data[:500] + bytes(200) + data[700:])


def scores_of_one_beside_labels_of_others(table, path):
    truth = (table[list(FINDINGS)] > 0.8).astype(int).drop(columns="Hernia")
    csv(pd.concat([table["film"], truth, table[["Hernia"]].add_prefix("prob_")], axis=1), path)


def cut_in_a_line(table, path):
    text = table.to_csv(index=False)
    path.write_text(text[: len(text) // 2])


def cut_gzip(table, path):
    path.write_bytes(gzip.compress(table.to_csv(index=False).encode())[:200])


def content(data):
    return lambda table, path: path.write_bytes(data)


# Each of these is refused, in one sentence with these words.
REFUSED = [
    ("a repeated header", doubled_header, "2 columns named 'Mass'"),
    ("one prefixed column among plain ones", one_prefixed, "'prob_Hernia'"),
    ("two networks", two_networks, "'a_Atelectasis', 'b_Atelectasis'"),
    ("two kinds of probabilities", raw_beside_prob, "which of them are probabilities is open"),
    ("a finding in two spellings", lambda t, p: csv(t.assign(mass=0.5), p), "'Mass', 'mass'"),
    ("two columns of films", two_film_columns, "'film', 'Image Index'"),
    ("no films", lambda t, p: csv(t.drop(columns="film"), p), "no column of film names"),
    ("no findings", lambda t, p: csv(t[["film"]].assign(x=1), p), "no column named after a find"),
    ("no rows", lambda t, p: csv(t.head(0), p), "holds no film"),
    ("a film twice", lambda t, p: csv(pd.concat([t, t.tail(2)]), p), "2 film(s) more than once"),
    ("an empty score", cell("Mass", 7, ""), "1 of 40 scores in the column 'Mass'"),
    ("a word for a score", cell("Mass", 7, "high"), "not a number, first for 00000008_000.png"),
    ("NaN", cell("Mass", 7, "NaN"), "not a number"),
    ("infinity", cell("Mass", 7, "inf"), "not a number"),
    ("logits", scaled(lambda s: 8 * s - 5), "apply a sigmoid"),
    ("percent", scaled(lambda s: 100 * s), "divide by 100"),
    ("one row a film and finding", long_format, "give each finding a column of its own"),
    ("more fields than names", too_long_a_line, "Expected 15 fields in line 4, saw 16"),
    ("rows that end in delimiters", trailing_delimiters, "Expected 16 fields in line 2, saw 18"),
    ("a quote that is never closed", open_quote, "damaged"),
    ("a comment above the header", comment_above, "damaged"),
    ("a row without a film", cell("film", 7, ""), "1 row(s) without a film name"),
    ("Parquet with a missing score", parquet_with_a_gap, "empty, first for 00000001_000.png"),
    ("Parquet with films as index and column", parquet_film_twice, "2 columns named 'film'"),
    ("Parquet broken inside", parquet_broken_inside, "damaged Parquet"),
    ("scores of one, labels of others", scores_of_one_beside_labels_of_others, "'prob_Hernia'"),
    ("an old Excel file", content(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"), "an Excel file"),
    ("UTF-16 without a mark", content("film,Mass\n".encode("utf-16-le")), "no text file"),
    ("a file cut within a line", cut_in_a_line, "empty"),
    ("a cut gzip file", cut_gzip, "damaged gzip"),
    ("a cut Parquet file", content(b"PAR1 and no more"), "damaged Parquet"),
    ("an Excel file", content(b"PK\x03\x04rest"), "save the table as CSV"),
    ("a pickle", content(pickle.dumps({"Mass": [1]})), "never loaded"),
    ("JSON", content(b'{"film": []}'), "JSON"),
    ("a web page", content(b"<!DOCTYPE html>"), "web page"),
    ("a pointer", content(b"version https://git-lfs.github.com/spec/v1\n"), "Git LFS pointer"),
    ("UTF-16", content("film,Mass\n".encode("utf-16")), "UTF-16"),
    ("rubbish", content(b"film\0\n1\0\n"), "no text file"),
    ("no UTF-8", content(b"film,Mass\nM\xfcller,1\n"), "no UTF-8"),
    ("nothing", content(b""), "holds no film"),
    ("a bare header", content(b"film,Mass\n"), "holds no film"),
]


def test_there_are_more_than_seventy_odd_files():
    assert len(JUDGED) + len(REFUSED) + len(DOUBTED) >= 70
    everything = [case[0] for case in (*JUDGED, *REFUSED, *DOUBTED)]
    assert len(set(everything)) == len(everything)


@pytest.mark.parametrize(("write", "words"), [c[1:] for c in JUDGED], ids=[c[0] for c in JUDGED])
def test_odd_files_give_their_scores_and_say_how_they_were_read(plain, tmp_path, write, words):
    path = tmp_path / "scores"
    write(plain, path)
    read = score_file.read_scores(path)
    expected = plain.set_index("film")
    pd.testing.assert_frame_equal(read.scores.sort_index(), expected, check_index_type=False)
    assert list(read.scores) == list(FINDINGS) and not read.phantoms
    said = " ".join(read.notes)
    for word in words:
        assert word in said
    assert bool(said) == bool(words), said


@pytest.mark.parametrize(("write", "words"), [c[1:] for c in REFUSED], ids=[c[0] for c in REFUSED])
def test_files_that_could_be_read_in_two_ways_or_none_are_refused(plain, tmp_path, write, words):
    path = tmp_path / "scores"
    write(plain, path)
    with pytest.raises(InputError) as refusal:
        score_file.read_scores(path)
    message = str(refusal.value)
    assert message.startswith(f"{path} ") and words in message
    assert message.endswith(".") and "\n" not in message and ". " not in message


def test_films_that_were_refused_are_counted_and_left_out(plain, tmp_path):
    refused = plain.assign(verdict="scored").astype(dict.fromkeys(FINDINGS, object))
    refused.loc[3, ["verdict", *FINDINGS]] = ["refused", *[""] * len(FINDINGS)]
    csv(refused, tmp_path / "scores.csv")
    read = score_file.read_scores(tmp_path / "scores.csv")
    assert len(read.scores) == FILMS - 1 and "00000004_000.png" not in read.scores.index
    assert "1 film(s) that `cxr predict` refused" in read.notes[0]
    # Only that verdict explains why there is no score.
    refused["verdict"] = "scored"
    csv(refused, tmp_path / "scores.csv")
    with pytest.raises(InputError, match="that are empty, first for 00000004"):
        score_file.read_scores(tmp_path / "scores.csv")


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        score_file.read_scores(tmp_path / "none.csv")
    with pytest.raises(InputError, match="cannot be read"):
        score_file.read_scores(tmp_path)


def test_scores_of_some_findings_are_found_beside_labels_of_all(plain, tmp_path):
    path = tmp_path / "scores.csv"
    truth = (plain[list(FINDINGS)] > 0.8).astype(int)
    some = plain[["Mass", "Hernia"]].add_prefix("prob_")
    csv(pd.concat([plain["film"], some, truth], axis=1), path)
    read = score_file.read_scores(path)
    assert dict(read.columns) == {"Mass": "prob_Mass", "Hernia": "prob_Hernia"}
    pd.testing.assert_frame_equal(read.scores, plain.set_index("film")[["Mass", "Hernia"]])
    assert "labels or decisions and left aside" in " ".join(read.notes)
    assert "not scored: Atelectasis" in " ".join(read.notes)


def test_missing_findings_are_named(plain, tmp_path):
    csv(plain.drop(columns=["Mass", "Hernia"]), tmp_path / "scores.csv")
    read = score_file.read_scores(tmp_path / "scores.csv")
    assert read.notes == ("Without a column, so not scored: Mass, Hernia.",)
    assert len(read.scores.columns) == 12


def test_a_file_says_whether_its_films_are_drawn(plain, tmp_path):
    csv(plain.assign(phantom=1), tmp_path / "scores.csv")
    assert score_file.read_scores(tmp_path / "scores.csv").phantoms


# ---- scores that are read, but look wrong -----------------------------------------------


def people():
    """Targets of 60 films of 60 patients, and honest scores."""
    random = np.random.default_rng(1)
    targets = pd.DataFrame(random.random((60, 14)) < 0.3, columns=list(FINDINGS)).astype(int)
    scores = (random.random((60, 14)) + targets) / 2
    return targets, scores, pd.Series(range(60))


DOUBTED = [
    ("labels given as scores", lambda t, s: t.astype(float), "all findings equal the labels"),
    ("one column of labels", lambda t, s: s.assign(Mass=t["Mass"] * 1.0), "Mass equal the labels"),
    ("a constant column", lambda t, s: s.assign(Mass=0.3), "Mass are the same for every film"),
    ("a reversed column", lambda t, s: s.assign(Mass=1 - s["Mass"]), "Mass rank films the wrong"),
    ("decisions", lambda t, s: s.assign(Mass=1.0 * (s["Mass"] > 0.4)), "Mass are only 0 and 1"),
    ("a column twice", lambda t, s: s.assign(Mass=s["Nodule"]), "Mass, Nodule are the same"),
    ("few values", lambda t, s: s.assign(Mass=s["Mass"].round(0) / 2 + 0.1), "fewer than 5"),
]


@pytest.mark.parametrize(("change", "words"), [c[1:] for c in DOUBTED], ids=[c[0] for c in DOUBTED])
def test_scores_that_look_wrong_are_doubted_by_name(change, words):
    targets, scores, patients = people()
    doubts = score_file.suspicious(change(targets, scores), targets, patients)
    assert any(words in doubt for doubt in doubts), doubts


def test_honest_scores_are_not_doubted():
    targets, scores, patients = people()
    assert score_file.suspicious(scores, targets, patients) == []


def test_models_that_rank_nothing_are_seldom_called_reversed():
    """Some finding always lies below a half by chance: of 60 files of noise, few are doubted."""
    random = np.random.default_rng(3)
    patients = pd.Series(np.arange(500))
    doubted = 0
    for _ in range(60):
        targets = pd.DataFrame(random.random((500, 14)) < 0.1, columns=list(FINDINGS)).astype(int)
        noise = pd.DataFrame(random.random((500, 14)), columns=list(FINDINGS))
        doubted += bool(score_file.suspicious(noise, targets, patients))
    # At 0.025 a file, more than six of 60 come once in a thousand seeds.
    assert doubted <= 6
