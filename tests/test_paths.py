"""A wrong environment is reported in one line before a run starts."""

import pytest

from repro import errors

RUN = ("run", "table4", "--task", "RTE", "--seeds", "1", "--engine", "serial")


def refused(repro, own_folders) -> str:
    """The message of a run that is refused before it computes anything."""
    code, _, err = repro(*RUN)
    assert code == 2
    assert err.count("\n") == 1
    assert list(own_folders.rglob("*.safetensors")) == []
    return err


def test_a_wrong_number_of_checkpoint_steps_is_refused_once(repro, own_folders, monkeypatch):
    monkeypatch.setenv("REPRO_CHECKPOINT_STEPS", "abc")
    message = "error: REPRO_CHECKPOINT_STEPS must be a whole number of steps from 1, got 'abc'\n"
    assert refused(repro, own_folders) == message


def test_an_unknown_form_of_progress_is_refused_once(repro, own_folders, monkeypatch):
    monkeypatch.setenv("REPRO_PROGRESS", "none")
    assert (
        refused(repro, own_folders)
        == "error: unknown REPRO_PROGRESS 'none'; use one of: bar, lines\n"
    )


def test_a_file_in_place_of_the_results_folder_is_reported_before_any_training(repro, own_folders):
    (own_folders / "results").touch()
    assert "results: File exists; move away what is in the way" in refused(repro, own_folders)


def test_an_impossible_cache_folder_is_reported_in_one_line(repro, own_folders, monkeypatch):
    (own_folders / "loop").symlink_to("loop")
    for place, words in [
        ("long" * 75, "File name too long; use a shorter path"),
        ("loop/cache", "symbolic links; fix the links"),
    ]:
        monkeypatch.setenv("REPRO_CACHE", str(own_folders / place))
        assert words in refused(repro, own_folders)


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        ("ENOENT", "create its folder"),
        ("ESTALE", "mount its file system again"),
        ("EMFILE", r"raise the limit of open files \(ulimit -n\)"),
    ],
)
def test_an_error_that_a_user_can_fix_has_its_remedy(number, advice):
    with (
        pytest.raises(errors.DiskError, match=f"cannot use f: .*; {advice}.*; then run"),
        errors.on_disk(),
    ):
        raise OSError(getattr(errors.errno, number), "", "f")
