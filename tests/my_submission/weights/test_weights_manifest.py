"""The manifest: what ships is what the authors published, and whatever is wrong in one is named."""

from pathlib import Path

import demucs
import pytest
import yaml

from my_submission.models.mdx_net import MdxNetParameters, Treatment
from my_submission.models.vr import VrParameters
from my_submission.registry import find_architecture
from my_submission.schema import read_yaml
from my_submission.weights import Manifest, ManifestError, load_manifest
from my_submission.weights.manifest import WEIGHTS_FOLDER, read_manifests
from my_submission.weights.store import record_key

pytestmark = pytest.mark.quick

OTHER_MDX_NETS = {
    *(
        f"UVR-MDX-NET-Inst_{name}"
        for name in ("1", "2", "3", "HQ_1", "HQ_3", "HQ_4", "HQ_5", "Main", "full_292")
    ),
    *(f"UVR-MDX-NET_Inst_{name}_beta" for name in (187, 82, 90)),
    *(f"UVR-MDX-NET_Main_{name}" for name in (340, 390, 406, 427, 438)),
    *("UVR-MDX-NET-Voc_FT", "UVR-MDX-NET_Crowd_HQ_1", "Reverb_HQ_By_FoxJoy"),
    *("UVR_MDXNET_1_9703", "UVR_MDXNET_2_9682", "UVR_MDXNET_3_9662", "UVR_MDXNET_9482"),
    *("UVR_MDXNET_KARA", "UVR_MDXNET_KARA_2", "UVR_MDXNET_Main"),
    *(f"kuielab_{entry}_{stem}" for entry in "ab" for stem in ("bass", "drums", "other", "vocals")),
}
"""Besides the four of the SDX23 ensembles."""

EXPERTS = ("drums", "bass", "other", "vocals")
OPEN_UNMIX = {f"{system}_{stem}" for system in ("umx", "umxhq", "umxl") for stem in EXPERTS}
DEMUCS_V1 = {f"demucs_v1{kind}{q}" for kind in ("", "_extra", "_light", "_light_extra") for q in ("", "_q")}
DEMUCS_V2 = {"demucs_v2", "demucs_v2_extra", "demucs48_hq"}
DEMUCS_V3 = {
    *(f"mdx_{name}" for name in ("0d19c1c6", "7ecf8ec1", "c511e2ab", "7d865c68")),
    *(f"mdx_extra_{name}" for name in ("e51eebcc", "a1d90b5c", "5d2d6c55", "cfa93e08")),
    *(f"repro_mdx_a_{name}" for name in ("9a6b4851", "1ef250f1", "fa0cb7f9", "902315c2")),
}
UVR_DEMUCS = {"UVR_Demucs_Model_1", "UVR_Demucs_Model_2"}
OLD_DEMUCS = DEMUCS_V1 | DEMUCS_V2 | DEMUCS_V3 | UVR_DEMUCS

BYTESEP = {
    f"{kind}_{target}" for kind in ("resunet143", "mobilenet") for target in ("vocals", "accompaniment")
}
VR = {
    *(f"{number}_HP-UVR" for number in (1, 2)),
    *(f"{number}_HP-Vocal-UVR" for number in (3, 4)),
    *(f"{number}_HP-Karaoke-UVR" for number in (5, 6)),
    *(f"{number}_HP2-UVR" for number in (7, 8, 9)),
    *("10_SP-UVR-2B-32000-1", "11_SP-UVR-2B-32000-2", "12_SP-UVR-3B-44100"),
    *("13_SP-UVR-4B-44100-1", "14_SP-UVR-4B-44100-2", "15_SP-UVR-MID-44100-1", "16_SP-UVR-MID-44100-2"),
    *("17_HP-Wind_Inst-UVR", "UVR-BVE-4B_SN-44100-1", "UVR-DeEcho-DeReverb"),
    *(f"MGM_{name}_v4" for name in ("HIGHEND", "LOWEND_A", "LOWEND_B", "MAIN")),
    *("UVR-De-Echo-Aggressive", "UVR-De-Echo-Normal", "UVR-DeNoise", "UVR-DeNoise-Lite"),
}
BSRNN = {f"bsrnn_{system}_{stem}" for system in ("crlandsc", "large") for stem in EXPERTS}
BSRNN_BY_HAND = {"bsrnn_amanteur_vocals", "obsrnn-simo", *(f"obsrnn_{stem}" for stem in EXPERTS)}
"""Not as files at a plain address: one is on Google Drive, the others are in archives."""

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


@pytest.fixture(scope="module")
def shipped() -> Manifest:
    return read_manifests(WEIGHTS_FOLDER / "manifest.yaml")


def test_shipped_manifest_has_every_checkpoint(shipped: Manifest) -> None:
    rows = {row.name for row in shipped.checkpoints.values() if row.form is None and row.has_file}
    assert rows - OTHER_MDX_NETS - OPEN_UNMIX - OLD_DEMUCS - VR - BYTESEP - BSRNN - BSRNN_BY_HAND == {
        *("Kim_Vocal_1", "Kim_Vocal_2", "Kim_Inst", "UVR-MDX-NET-Inst_HQ_2"),
        *(f"htdemucs_ft_{stem}" for stem in EXPERTS),
        *("htdemucs", "htdemucs_6s", "hdemucs_mmi"),
        *("dnr_a778de4a", "dnr_dbb4db15", "dnr_e41a5468"),
        *("bsroformer-musdb", "polarformer", "bsroformer-1297", "mega-53", "melband-kim", "melband-deux"),
        *("bs-resurrection-voc", "bs-resurrection-inst"),
        *("mdx23c-vocals", "bandit-plus", "bandit-v2-multi", "kuielab_a_mixer"),
        *("scnet-xl-ihf", "scnet-xl", "scnet-large", "scnet-large-starrytong"),
        *("spleeter_2stems_vocals", "spleeter_2stems_instrumental", "spleeter_4stems", "spleeter_5stems"),
    }
    assert rows > OTHER_MDX_NETS | OPEN_UNMIX | OLD_DEMUCS | VR | BYTESEP | BSRNN | BSRNN_BY_HAND
    assert shipped.bags["htdemucs_ft"].members == tuple(
        (f"htdemucs_ft_{stem}", {stem: 1}) for stem in EXPERTS
    )


def test_every_mdx_net_is_named_by_its_file_and_has_the_form_of_uvr(shipped: Manifest) -> None:
    rows = [row for row in shipped.checkpoints.values() if row.architecture == "mdx_net"]
    own = {row.name: row for row in rows if row.form is None}
    assert len(own) == 39
    assert len({row.tail_md5 for row in own.values()}) == 39
    for row in own.values():
        assert row.file == f"{row.name}.onnx"
        assert row.tail_md5
        assert (row.licence is not None) == row.name.startswith("kuielab"), row.name
        plain, uvr = row.parameters, shipped.checkpoints[f"{row.name}@uvr"].parameters
        assert isinstance(plain, MdxNetParameters)
        assert isinstance(uvr, MdxNetParameters)
        assert plain.treatment == Treatment()
        assert uvr.treatment == Treatment(uvr.compensate, zero_low_bins=3, window="hann")


def test_every_vr_network_is_named_by_its_file_and_says_how_it_is_run(shipped: Manifest) -> None:
    """As Ultimate Vocal Remover runs it without any setting changed; what is no accompaniment is vocals."""
    for name in VR:
        row, tta = shipped.checkpoints[name], shipped.checkpoints[f"{name}@tta"]
        assert row.file == f"{name}.pth"
        assert row.licence is None
        assert isinstance(row.parameters, VrParameters)
        said = row.parameters.model_dump(exclude={"bands", "accompaniment"})
        assert said == {"window_frames": 512, "aggressiveness": 5, "tta": False, "post_process": None}
        assert tta.parameters == row.parameters.model_copy(update={"tta": True})
        assert row.parameters.accompaniment == (not row.sources[0].endswith("vocals"))


@pytest.mark.parametrize(
    ("bins", "frames", "growth", "values"),
    [(3072, 256, 48, 16_684_228), (2560, 256, 48, 14_763_012), (2048, 256, 48, 13_191_108),
     (2048, 256, 32, 7_420_548), (2048, 512, 32, 7_420_548), (2048, 128, 32, 5_478_276)],
)  # fmt: skip
def test_sizes_of_mdx_nets_are_those_of_their_networks(
    shipped: Manifest, bins: int, frames: int, growth: int, values: int
) -> None:
    """Of every row of these bins and frames that states one: four bytes a value, and what an ONNX graph takes."""
    sizes = [
        row.bytes - 4 * values
        for row in shipped.checkpoints.values()
        if isinstance(row.parameters, MdxNetParameters)
        and (row.parameters.dim_f, row.parameters.dim_t) == (bins, frames)
        and row.bytes
        and (row.bytes > 40e6) == (growth == 48)
    ]
    assert sizes
    assert min(sizes) > 10_000
    assert max(sizes) < 50_000


def test_names_of_demucs_and_open_unmix_end_in_the_beginning_of_their_hash(shipped: Manifest) -> None:
    for row in shipped.checkpoints.values():
        if row.file.endswith((".th", ".pth")) and row.row not in DEMUCS_V1 | UVR_DEMUCS | VR | BYTESEP:
            assert row.sha256
            assert Path(row.file).stem.split("-")[1] == row.sha256[:8], row.name


def test_every_published_hash_is_whole(shipped: Manifest) -> None:
    rows = [row for row in shipped.checkpoints.values() if row.has_file]
    without = {row.row for row in rows if not (row.sha256 or row.tail_md5)}
    assert without == {  # of which nobody published one, or UVR without a name that tells which
        *("bsroformer-musdb", "scnet-xl", *BYTESEP, *BSRNN, *BSRNN_BY_HAND),
        *("9_HP2-UVR", "15_SP-UVR-MID-44100-1", "UVR-De-Echo-Aggressive", "UVR-De-Echo-Normal"),
    }
    begun = {row.name for row in shipped.checkpoints.values() if row.sha256 and len(row.sha256) < 64}
    assert begun == {name for name in OPEN_UNMIX if not name.startswith("umxhq")} | DEMUCS_V2


def test_bags_of_demucs_are_those_of_its_package(shipped: Manifest) -> None:
    """`remote/*.yaml` there; the first two of four networks work on the waveform alone."""
    remote = Path(demucs.__file__).parent / "remote"
    for name in ("mdx", "mdx_extra", "repro_mdx_a"):
        bag = yaml.safe_load((remote / f"{name}.yaml").read_text())
        members = shipped.bags[name].members
        assert [member for member, _ in members] == [f"{name}_{signature}" for signature in bag["models"]]
        weights = bag.get("weights", [[1] * 4] * 4)
        assert [[given.get(source, 0) for source in EXPERTS] for _, given in members] == weights
        rows = [shipped.checkpoints[member] for member, _ in members]
        assert {dict(row.parameters)["segment_seconds"] for row in rows} == {bag["segment"]}
        waveform = "hdemucs" if name == "mdx_extra" else "demucs_v3"
        assert [row.architecture for row in rows] == [waveform, waveform, "hdemucs", "hdemucs"]
    listed = (remote / "files.txt").read_text().split()
    assert {shipped.checkpoints[name].file for name in DEMUCS_V3} < set(listed)


def test_copies_under_other_names_have_no_published_hash(shipped: Manifest) -> None:
    row = shipped.checkpoints["htdemucs"]
    own, copy = row.copies().values()
    assert (own.file, own.sha256) == ("955717e8-8726e21a.th", row.sha256)
    assert (copy.file, copy.sha256, copy.bytes) == ("955717e8.safetensors", None, None)


def test_every_checkpoint_has_a_size_and_an_origin_unless_it_is_fetched_by_hand(shipped: Manifest) -> None:
    for row in (row for row in shipped.checkpoints.values() if row.has_file):
        if row.name in BSRNN_BY_HAND:
            assert not row.origins
            continue
        assert row.about_bytes or row.row.startswith(("MGM_", "demucs_v1_light")), "nobody published one"
        small = row.architecture == "mixer" or row.name.startswith("mobilenet")
        assert small or (row.about_bytes or 1e8) > 1.5e7
        assert row.origins
        assert all(
            origin.copy.file.endswith(find_architecture(row.architecture).suffixes) for origin in row.origins
        )


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
        ({"mine@a": ROW}, r"mine@a.*expected a name without @"),
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
