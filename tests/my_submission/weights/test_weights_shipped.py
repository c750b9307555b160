"""The manifest that ships says what the authors published."""

from pathlib import Path

import demucs
import pytest
import yaml

from my_submission.models.mdx_net import MdxNetParameters, Treatment
from my_submission.models.vr import VrParameters
from my_submission.registry import find_architecture
from my_submission.weights import Manifest
from my_submission.weights.manifest import WEIGHTS_FOLDER, read_manifests

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
