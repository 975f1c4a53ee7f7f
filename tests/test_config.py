import dataclasses

import pytest

from cxr import config
from cxr.errors import InputError


def test_demo_is_the_default_and_has_a_root_of_its_own():
    demo = config.load_config({})
    assert demo.profile == "demo"
    assert demo.phantoms
    assert demo.root == config.PROJECT / "demo"
    assert config.load_config({"CXR_PROFILE": "full"}).root == config.PROJECT


def test_a_users_films_turn_the_demo_into_a_run_on_real_films(tmp_path):
    real = config.load_config({"CXR_IMAGES": str(tmp_path)})
    assert not real.phantoms
    assert real.root == config.PROJECT
    assert real.films == tmp_path
    assert "real films" in real.banner


def test_variables_win_over_the_profile_and_arguments_over_both():
    environment = {"CXR_PROFILE": "first_archive", "CXR_EPOCHS": "3", "CXR_SEED": "7"}
    loaded = config.load_config(environment, seed=9)
    assert (loaded.profile, loaded.epochs, loaded.seed) == ("first_archive", 3, 9)


def test_every_field_can_be_set_by_a_variable(tmp_path):
    texts = {
        "profile": ("full", "full"),
        "root": (str(tmp_path), tmp_path),
        "source": ("nih", "nih"),
        "records": (str(tmp_path), tmp_path),
        "images": (str(tmp_path), tmp_path),
        "sample": ("boxes", "boxes"),
        "store_size": ("256", 256),
        "parallel": ("2", 2),
        "keep_archives": ("yes", True),
        "min_combination": ("0", 0),
        "split": ("official", "official"),
        "split_lists": (str(tmp_path), tmp_path),
        "partial_records": ("1", True),
        "rsna": (str(tmp_path), tmp_path),
        "image_size": ("96", 96),
        "models": ("baseline, mobilenet_small", ("baseline", "mobilenet_small")),
        "weights": ("none", "none"),
        "ensemble": ("3", 3),
        "epochs": ("2", 2),
        "batch_size": ("8", 8),
        "learning_rate": ("1e-4", 1e-4),
        "seed": ("1", 1),
        "tag": ("trial-2", "trial-2"),
        "allow_cpu": ("1", True),
    }
    assert set(texts) == {field.name for field in dataclasses.fields(config.Config)}
    environment = {f"CXR_{name.upper()}": text for name, (text, _) in texts.items()}
    loaded = config.load_config(environment)
    assert dataclasses.asdict(loaded) == {name: value for name, (_, value) in texts.items()}


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"CXR_PROFILE": "big"}, "unknown profile 'big'; known are demo, first_archive, full"),
        ({"CXR_EPOCS": "3"}, "unknown variable CXR_EPOCS; known are CXR_PROFILE"),
        ({"CXR_EPOCHS": "many"}, "CXR_EPOCHS='many' is not a whole number"),
        ({"CXR_EPOCHS": "0"}, "CXR_EPOCHS=0 is outside 1 to 10000"),
        ({"CXR_LEARNING_RATE": "fast"}, "CXR_LEARNING_RATE='fast' is not a number"),
        ({"CXR_ALLOW_CPU": "maybe"}, "neither 1 (yes) nor 0 (no)"),
        ({"CXR_SPLIT": "film"}, "known are patient, official, original, community"),
        ({"CXR_MODELS": ","}, "names no model"),
        ({"CXR_MODELS": "baseline,baseline"}, "or one twice"),
        ({"CXR_TAG": "../up"}, "may hold letters"),
        ({"CXR_TAG": "t" * 101}, "CXR_TAG takes 101 bytes, and 100 at most fit"),
        ({"CXR_TAG": "胸" * 34}, "CXR_TAG takes 102 bytes"),
        ({"CXR_ROOT": "~nobody-at-all/x"}, "CXR_ROOT='~nobody-at-all/x' is no path that can be"),
        ({"CXR_IMAGES": "/tmp/" + "x" * 300}, "is no path that can be used (File name too long)"),
        ({"CXR_IMAGES": "/no/such/folder"}, "CXR_IMAGES=/no/such/folder does not exist"),
        ({"CXR_RECORDS": "/no/such/file"}, "CXR_RECORDS=/no/such/file does not exist"),
        ({"CXR_IMAGE_SIZE": "16"}, "outside 64 to 1024"),
    ],
)
def test_bad_settings_are_refused_with_what_exists(environment, words):
    with pytest.raises(InputError) as caught:
        config.load_config(environment)
    assert words in str(caught.value)


def test_a_link_that_leads_to_itself_is_no_path(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name in ("CXR_ROOT", "CXR_IMAGES"):
        with pytest.raises(InputError, match=f"{name}=.*is no path that can be used"):
            config.load_config({name: str(tmp_path / "loop" / "films")})


def test_files_of_weights_and_of_names_may_lie_in_the_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "here").touch()
    for name in ("weights", "sample"):
        loaded = config.load_config({f"CXR_{name.upper()}": "~/here"}, profile="first_archive")
        assert getattr(loaded, name) == str(tmp_path / "here")


def test_a_film_folder_must_be_a_folder(tmp_path):
    file = tmp_path / "films.zip"
    file.touch()
    with pytest.raises(InputError, match="is not a folder"):
        config.load_config({"CXR_IMAGES": str(file)})


def test_run_names_tell_model_split_and_tag():
    base = config.load_config({"CXR_SPLIT": "official"})
    assert base.run_name("baseline") == "baseline-official"
    assert dataclasses.replace(base, tag="b").run_name("baseline") == "baseline-official-b"


def test_a_file_of_names_means_the_same_in_every_folder(tmp_path, monkeypatch):
    (tmp_path / "films.txt").write_text("00000001_000.png")
    monkeypatch.chdir(tmp_path)
    given = config.load_config({"CXR_SAMPLE": "films.txt"}, profile="full")
    assert given.sample == str(tmp_path / "films.txt")
    assert config.load_config({"CXR_SAMPLE": "1500"}, profile="full").sample == "1500"
