"""The manifest: rows, forms, parts and bags of a user; whatever is wrong in one is named."""

from pathlib import Path

import pytest
import yaml

from my_submission.schema import read_yaml
from my_submission.weights import Manifest, ManifestError, load_manifest
from my_submission.weights.manifest import read_manifests
from my_submission.weights.store import record_key

pytestmark = pytest.mark.quick

DROPPED = object()
SPECTROGRAM = {"n_fft": 7680, "dim_f": 3072, "dim_t": 256, "hop": 1024}

ROW = {
    "architecture": "mdx_net",
    "sources": ["vocals"],
    "parameters": SPECTROGRAM,
    "file": "mine.onnx",
    "bytes": 10,
    "sha256": "a" * 64,
    "origins": [{"hub": "owner/name", "path": "folder/mine.onnx"}, {"url": "https://host/mine.onnx?x=1"}],
    "licence": "MIT",
}


def read(folder: Path, document: object) -> Manifest:
    path = folder / "own.yaml"
    path.write_text(document if isinstance(document, str) else yaml.safe_dump(document))
    return read_manifests(path)


def test_a_users_file_adds_rows_with_paths_relative_to_it(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(
        "checkpoints: {mine: {architecture: htdemucs, sources: [vocals, other], path: nets/mine.th}}"
    )
    row = load_manifest(own).checkpoints["mine"]
    assert row.path == tmp_path / "nets" / "mine.th"
    assert (row.file, row.sha256, row.origins, row.licence) == ("mine.th", None, (), None)
    assert "htdemucs" in load_manifest(own).checkpoints


def test_a_form_is_the_rows_file_with_other_parameters(tmp_path: Path) -> None:
    row = {**ROW, "forms": {"loud": {"compensate": 2}, "short": {"dim_t": 64}}}
    bag = [{"checkpoint": "mine@loud", "weights": {"vocals": 1}}]
    manifest = read(tmp_path, {"checkpoints": {"mine": row}, "bags": {"both": bag}})
    own, loud, short = (manifest.checkpoints[name] for name in ("mine", "mine@loud", "mine@short"))
    assert dict(own.parameters) == {
        **SPECTROGRAM, "compensate": 1.0, "zero_low_bins": 0, "window": None
    }  # fmt: skip
    assert dict(loud.parameters) == {**dict(own.parameters), "compensate": 2}
    assert dict(short.parameters) == {**dict(own.parameters), "dim_t": 64}
    assert loud.copies() == own.copies()
    assert {checkpoint.row for checkpoint in manifest.checkpoints.values()} == {"mine"}
    assert record_key(loud, loud.copies()["mine.onnx"]) == "mine/mine.onnx"


UMX = {"architecture": "open_unmix", "parameters": {"n_fft": 4096, "hop": 1024, "bins": 1487, "hidden": 512}}


def umx_rows(**changes: object) -> dict[str, object]:
    """Two rows of one target and one of both."""
    one = {name: {**UMX, "sources": [name], "file": f"{name}.pth"} for name in ("vocals", "drums")}
    return {**one, "both": {**UMX, "sources": ["vocals", "drums"], "parts": ["vocals", "drums"], **changes}}


def test_a_row_of_parts_has_their_sources_and_no_file(tmp_path: Path) -> None:
    both = read(tmp_path, {"checkpoints": umx_rows()}).checkpoints["both"]
    assert both.parts == ("vocals", "drums")
    assert not both.has_file
    assert both.origins == ()


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"file": "both.pth"}, r"both\.file: a row of 'parts' has no file of its own, so no 'file'"),
        ({"sha256": "a" * 64}, r"both\.sha256: a row of 'parts' has no file"),
        ({"parts": ["vocals", "bass"]}, r"both\.parts: 'bass' is no row of open_unmix with a file"),
        ({"parts": ["both"]}, r"both\.parts: 'both' is no row of open_unmix with a file"),
        (
            {"sources": ["drums", "vocals"]},
            r"both\.parts: expected parts with the sources \['drums', 'vocals'\]",
        ),
        (
            {"architecture": "mdx_net", "parameters": SPECTROGRAM},
            r"both\.parts: mdx_net makes nothing of several",
        ),
    ],
)
def test_what_is_wrong_in_a_row_of_parts_is_named(
    tmp_path: Path, changes: dict[str, object], complaint: str
) -> None:
    with pytest.raises(ManifestError, match=complaint):
        read(tmp_path, {"checkpoints": umx_rows(**changes)})


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        ({"mine": {**ROW, "forms": {"a": {"loud": 2}}}}, r"mine\.forms\.a: unknown key 'loud'"),
        ({"mine": {**ROW, "forms": {"a": {"dim_t": 0}}}}, r"mine\.forms\.a\.dim_t: expected a whole number"),
        ({"mine": {**ROW, "forms": {"a": 3}}}, r"mine\.forms\.a: expected a mapping"),
        ({"mine": {**ROW, "forms": {"a b": {}}}}, r"mine\.forms"),
        ({"mine": {**ROW, "forms": {f"f{n}": {} for n in range(17)}}}, r"mine\.forms: expected at most 16"),
        ({"": ROW}, r"checkpoints: expected a name without @, .*found .. as a key"),
        ({"mine@a": ROW}, r"checkpoints: expected a name without @, .*found .mine@a. as a key"),
    ],
)
def test_what_is_wrong_in_a_form_is_named(tmp_path: Path, document: object, complaint: str) -> None:
    with pytest.raises(ManifestError, match=complaint):
        read(tmp_path, {"checkpoints": document})


def test_a_name_defined_twice_names_both_files(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("checkpoints: {htdemucs: {architecture: htdemucs, sources: [vocals], path: x.th}}")
    with pytest.raises(ManifestError, match=r"own\.yaml: 'htdemucs' is already defined in .*manifest\.yaml"):
        load_manifest(own)


def test_a_key_that_appears_twice_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"own\.yaml.*'x' appears twice"):
        read(tmp_path, "checkpoints:\n  x: {}\n  x: {}\n")


def test_yaml_tags_construct_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("!!python/object/apply:os.getcwd []")
    with pytest.raises(yaml.YAMLError, match="could not determine a constructor"):
        read_yaml(path)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            {"architecture": "roformer"},
            r"mine\.architecture: found 'roformer'; allowed: .*hdemucs, htdemucs, .*mdx_net",
        ),
        ({"architecture": "mdxnet"}, r"allowed: .*\(did you mean 'mdx_net'\?\), or package\.module:object"),
        ({"colour": "red"}, r"mine: unknown key 'colour'; allowed: about_bytes, architecture, bytes"),
        ({"sources": None}, r"mine\.sources: expected a list"),
        ({"sources": ["vocals", "vocals"]}, r"mine\.sources: expected different names"),
        (
            {"sources": ["lead vocals"]},
            r"mine\.sources\[0\]: expected a name of letters, .*found 'lead vocals'",
        ),
        ({"sources": ["input"]}, r"mine\.sources: found 'input', which means the signal that a step runs on"),
        ({"sources": ["bass", "drums"]}, r"mine\.sources: mdx_net has exactly one source"),
        ({"parameters": {"n_fft": 7680}}, r"mine\.parameters: the key 'dim_f' is missing"),
        (
            {"parameters": {**SPECTROGRAM, "hop": 0}},
            r"parameters\.hop: expected a whole number above 0",
        ),
        ({"parameters": {**SPECTROGRAM, "hop": "1"}}, r"parameters\.hop: expected .*found '1'"),
        ({"parameters": {**SPECTROGRAM, "compensate": 0}}, r"parameters\.compensate: expected a gain"),
        ({"parameters": {**SPECTROGRAM, "compensate": 101}}, r"compensate: expected at most 100"),
        ({"parameters": {**SPECTROGRAM, "zero_low_bins": -1}}, r"zero_low_bins: expected a whole number"),
        ({"parameters": {**SPECTROGRAM, "zero_low_bins": 3073}}, r"zero_low_bins: expected at most dim_f"),
        ({"parameters": {**SPECTROGRAM, "window": "hamming"}}, r"window: found 'hamming'; allowed: hann"),
        ({"file": "../mine.onnx"}, r"mine\.file: expected a file name without folders"),
        ({"file": "mine.th"}, r"'mine\.th' is not a file of mdx_net: it must end in \.onnx"),
        ({"path": "x.onnx"}, r"give either 'file'"),
        ({"path": "x.onnx", "file": DROPPED}, r"a row with 'path' cannot have 'origins'"),
        ({"bytes": "10 MB"}, r"mine\.bytes: expected a whole number"),
        ({"sha256": "ABC"}, r"mine\.sha256: expected 8 to 64 lower-case hex digits"),
        ({"tail_md5": "A" * 32}, r"mine\.tail_md5: expected 32 lower-case hex digits"),
        ({"tail_md5": "a" * 31}, r"mine\.tail_md5: expected 32 lower-case hex digits"),
        ({"licence": 3}, r"mine\.licence: expected text"),
        ({"origins": "here"}, r"mine\.origins: expected a list"),
        ({"origins": [{"hub": "a/b", "url": "https://c/mine.onnx"}]}, r"origins\[0\]: give either 'hub'"),
        ({"origins": [{"wheel": "a==1", "url": "https://c/mine.onnx"}]}, r"origins\[0\]: give either 'hub'"),
        (
            {"origins": [{"wheel": "a==1"}]},
            r"origins\[0\]\.path: expected a path inside the repository or wheel",
        ),
        (
            {"origins": [{"wheel": "a==1", "path": "/mine.onnx"}]},
            r"expected a path inside the repository or wheel",
        ),
        ({"origins": [{"wheel": "a==1", "path": "mine.onnx", "revision": "b"}]}, r"'revision' to a 'hub'"),
        ({"origins": [{"url": "https://c/mine.onnx", "path": "mine.onnx"}]}, r"'path' belongs to a 'hub' or"),
        *(
            ({"origins": [{"wheel": text, "path": "mine.onnx"}]}, r"wheel: expected name==version of a pack")
            for text in ("a", "a>=1", "a==1 b", "--index-url==1", "a==-r", "a==1; b", "git+https://c/a==1")
        ),
        ({"origins": [{"hub": "name", "path": "mine.onnx"}]}, r"origins\[0\]\.hub: expected owner/name"),
        (
            {"origins": [{"hub": "a/b", "path": "../mine.onnx"}]},
            r"origins\[0\]\.path: expected a path inside",
        ),
        ({"origins": [{"hub": "a/b", "path": "mine.onnx", "revision": 1}]}, r"origins\[0\]\.revision"),
        ({"origins": [{"url": "file:///etc/mine.onnx"}]}, r"origins\[0\]\.url: expected an http"),
        ({"origins": [{"url": "https://host/mine.zip"}]}, r"'mine\.zip' must end in \.onnx"),
        ({"origins": [{"url": "https://host/mine.onnx", "sha256": "b" * 64}]}, r"into the row"),
        ({"origins": [{"url": "https://host/mine.onnx", "tail_md5": "b" * 32}]}, r"into the row"),
    ],
)
def test_what_is_wrong_in_a_row_is_named(tmp_path: Path, change: dict[str, object], complaint: str) -> None:
    assert read(tmp_path, {"checkpoints": {"mine": ROW}}).checkpoints["mine"].origins[1].revision is None
    row = {key: value for key, value in {**ROW, **change}.items() if value is not DROPPED}
    with pytest.raises(ManifestError, match=complaint) as caught:
        read(tmp_path, {"checkpoints": {"mine": row}})
    assert "own.yaml: checkpoints.mine" in str(caught.value)


@pytest.mark.parametrize(
    ("members", "complaint"),
    [
        ([], r"bags\.both: expected at least one entry, found"),
        ([{"checkpoint": "mine"}], r"bags\.both\[0\]: the key 'weights' is missing"),
        (
            [{"checkpoint": "yours", "weights": {"vocals": 1}}],
            r"\[0\]\.checkpoint: found 'yours'; allowed: mine",
        ),
        ([{"checkpoint": "mine", "weights": {"bass": 1}}], r"weights: found 'bass', .*; allowed: vocals"),
        ([{"checkpoint": "mine", "weights": {"vocals": 0}}], r"weights\.vocals: expected a number above 0"),
        ([{"checkpoint": "mine", "weights": {"vocals": float("nan")}}], r"expected a number above 0"),
        ([{"checkpoint": "mine", "weights": {}}], r"weights: expected at least one entry"),
    ],
)
def test_what_is_wrong_in_a_bag_is_named(tmp_path: Path, members: object, complaint: str) -> None:
    with pytest.raises(ManifestError, match=complaint):
        read(tmp_path, {"checkpoints": {"mine": ROW}, "bags": {"both": members}})


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", r"own\.yaml: expected a mapping"),
        ("[1, 2]", r"own\.yaml: expected a mapping"),
        ("checkpoints: [1]", r"checkpoints: expected a mapping"),
        ("checkpoint: {}", r"unknown key 'checkpoint'; allowed: bags, checkpoints"),
        ("checkpoints: {a: {b", r"cannot be read as YAML.*line 1"),
    ],
)
def test_what_is_no_manifest_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(ManifestError, match=f"(?s){complaint}"):
        read(tmp_path, text)


def test_a_manifest_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"none\.yaml: no such manifest file"):
        load_manifest(tmp_path / "none.yaml")


def test_a_shipped_manifest_that_changes_is_read_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is parsed once, and every preset is read with it."""
    path = tmp_path / "manifest.yaml"
    monkeypatch.setattr("my_submission.weights.manifest.MANIFEST", path)
    for name in ("first", "another"):
        row = {"architecture": "htdemucs", "sources": ["vocals"], "file": f"{name}.th", "about_bytes": 1}
        path.write_text(yaml.safe_dump({"checkpoints": {name: row}}))
        assert list(read_manifests(path).checkpoints) == [name]


def test_a_home_that_nobody_has_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SDX_USER_HOME", raising=False)
    row = {"architecture": "htdemucs", "sources": ["vocals"], "path": "~nobody_here/x.th"}
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump({"checkpoints": {"mine": row}}))
    with pytest.raises(
        ManifestError, match=r"checkpoints\.mine\.path: found '~nobody_here/x\.th', a user whose home"
    ):
        load_manifest(path)
