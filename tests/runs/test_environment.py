"""A run that cannot end well does not begin: one line for what the environment says wrong."""

import pytest

from repro import errors

RUN = ("run", "table4", "--task", "RTE", "--seeds", "1", "--engine", "serial")


def refused(repro, own_folders) -> str:
    """What is said of a run that computes nothing."""
    code, _, err = repro(*RUN)
    assert code == 2
    assert err.count("\n") == 1
    assert list(own_folders.rglob("*.safetensors")) == []
    return err


def test_a_wrong_number_of_steps_is_refused_once(repro, own_folders, monkeypatch):
    monkeypatch.setenv("REPRO_CHECKPOINT_STEPS", "abc")
    said = "error: REPRO_CHECKPOINT_STEPS must be a whole number of steps from 1, got 'abc'\n"
    assert refused(repro, own_folders) == said


def test_a_wrong_form_of_progress_is_refused_once(repro, own_folders, monkeypatch):
    monkeypatch.setenv("REPRO_PROGRESS", "none")
    assert (
        refused(repro, own_folders)
        == "error: unknown REPRO_PROGRESS 'none'; use one of: bar, lines\n"
    )


def test_a_file_in_the_results_place_is_noticed_before_any_training(repro, own_folders):
    (own_folders / "results").touch()
    assert "results: File exists; move away what is in the way" in refused(repro, own_folders)


def test_a_cache_that_cannot_be_is_one_line(repro, own_folders, monkeypatch):
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
def test_what_a_user_can_mend_is_said(number, advice):
    with (
        pytest.raises(errors.DiskError, match=f"cannot use f: .*; {advice}.*; then run"),
        errors.on_disk(),
    ):
        raise OSError(getattr(errors.errno, number), "", "f")
