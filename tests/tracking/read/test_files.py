from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dwp_sweep.errors import CorruptArtifactError, InputError
from dwp_sweep.nets.kernel_prior import KernelPrior, save_prior
from dwp_sweep.nets.kernel_vae import KernelVAE
from dwp_sweep.nets.net_files import save_net
from dwp_sweep.nets.unet3d import UNet3D, UNetConfig
from dwp_sweep.store.protocol import Store
from dwp_sweep.tracking.read.files import ScoreReader, download_outputs, load_model, load_prior
from dwp_sweep.tracking.write.node_run import NodeRun
from dwp_sweep.tracking.write.parent import Tracking
from tests.tracking.conftest import make_node, make_record

CHANNELS = (4, 4, 4, 4)


def small_net(seed: int) -> UNet3D:
    torch.manual_seed(seed)
    return UNet3D(channels=CHANNELS)


def log(tracking: Tracking, store: Store, stage: str, write: Any) -> str:
    node = make_node(f"key-{stage}", stage, group=2) if stage == "prior" else make_node(f"key-{stage}", stage)
    out_dir = store.new_out_dir(stage, node.key)
    write(out_dir)
    run = NodeRun(tracking, node)
    record = make_record(node)
    run.finish(record, store.publish(out_dir, record))
    assert run.online, run.problem
    return run.run_id


def test_the_network_comes_back_ready_to_predict(tracking: Tracking, store: Store) -> None:
    net, image = small_net(0).eval(), torch.randn(1, 1, 16, 16, 16)
    run_id = log(tracking, store, "target", lambda out: save_net(net, UNetConfig(channels=CHANNELS), out, {}))
    loaded = load_model(run_id, tracking.uri)
    assert not loaded.training
    with torch.no_grad():
        assert torch.equal(loaded(image), net(image))


def test_of_several_networks_the_path_chooses(tracking: Tracking, store: Store) -> None:
    nets = [small_net(0), small_net(1)]

    def write(out: Path) -> None:
        for cycle, net in enumerate(nets):
            save_net(net, UNetConfig(channels=CHANNELS), out / f"cycle{cycle}", {})

    run_id = log(tracking, store, "source", write)
    with pytest.raises(InputError, match="choose a path: cycle0, cycle1"):
        load_model(run_id, tracking.uri)
    chosen = load_model(run_id, tracking.uri, path="cycle1").state_dict()
    assert all(torch.equal(value, chosen[name]) for name, value in nets[1].state_dict().items())


def test_a_prior_comes_back_to_sample_from(tracking: Tracking, store: Store) -> None:
    prior = KernelPrior(2, KernelVAE(latent_dim=3), {"down1.conv_2": 0.1})
    run_id = log(tracking, store, "prior", lambda out: save_prior(prior, out))
    loaded = load_prior(run_id, tracking.uri)
    drawn = [p.sample(4, torch.Generator().manual_seed(0), "down1.conv_2") for p in (prior, loaded)]
    assert torch.equal(*drawn) and drawn[0].shape == (4, 27)


def test_all_files_of_a_run_can_be_fetched(tracking: Tracking, store: Store, tmp_path: Path) -> None:
    def write(out: Path) -> None:
        (out / "figures").mkdir()
        (out / "figures" / "a.png").write_text("png")
        (out / "bank.json").write_text("{}")

    run_id = log(tracking, store, "harvest", write)
    folder = download_outputs(run_id, tmp_path / "new" / "folder", tracking.uri)
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files == {"bank.json", "figures/a.png", "record.json"}
    with pytest.raises(InputError, match="holds no network"):
        load_model(run_id, tracking.uri)


def test_an_unknown_run_is_named(tracking: Tracking) -> None:
    with pytest.raises(InputError, match="run 0123abcd"):
        load_model("0123abcd", tracking.uri)


class Endless:
    """MLflow's client, as far as files are listed and fetched, of a server whose listings have no end."""

    def __init__(self, listing: Callable[[str], list[tuple[str, bool]]]) -> None:
        self.listing, self.n_asked = listing, 0

    def get_run(self, run_id: str) -> None:
        pass

    def list_artifacts(self, run_id: str, path: str | None = None) -> list[SimpleNamespace]:
        self.n_asked += 1
        return [SimpleNamespace(path=name, is_dir=is_dir) for name, is_dir in self.listing(path or "")]

    def download_artifacts(self, *_: Any) -> str:
        raise AssertionError("nothing of such a listing is fetched")


@pytest.mark.parametrize(
    "listing",
    [
        lambda path: [("loop", True)],
        lambda path: [(f"{path}/deeper".lstrip("/"), True)],
        lambda path: [(f"{path}/{number}".lstrip("/"), True) for number in range(10)],
        lambda path: [(f"{number}.txt", False) for number in range(20_000)],
    ],
    ids=["itself", "deeper", "wider", "files"],
)
def test_a_listing_without_end_is_the_documented_error(
    listing: Callable[[str], list[tuple[str, bool]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Endless(listing)
    monkeypatch.setattr("dwp_sweep.tracking.read.files.open_reader", lambda uri: (client, uri))
    with pytest.raises(
        CorruptArtifactError, match="run r lists more than 10000 files or folders nested deeper"
    ):
        download_outputs("r", tmp_path, "http://host")
    assert client.n_asked <= 10_001


def test_a_file_that_the_server_lists_as_a_folder_is_not_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Endless(lambda path: [(f"{path}/test_scores.json".lstrip("/"), False)])
    monkeypatch.setattr("dwp_sweep.tracking.read.files.open_reader", lambda uri: (client, uri))
    with pytest.raises(
        InputError, match=r"cannot be fetched: run r lists test_scores\.json as a file and as a"
    ):
        ScoreReader(None, "http://host").read("", "r")
