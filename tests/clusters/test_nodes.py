"""Runs on clusters of several nodes, with nodes that are lost, come late, or share nothing but S3."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyarrow.fs import FileSelector, FileSystem
from ray.cluster_utils import Cluster

from tests.clusters.heads import BINARIES, autoscaling, free_port, head
from tests.conftest import small_config
from tests.whole import assert_same, finish, lines, start

pytestmark = pytest.mark.cluster
TABLES = ("trials.csv", "history.csv", "results.csv")
NODE = {"num_cpus": 1, "object_store_memory": 256 * 2**20, "include_dashboard": False}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A head that does no work, and two nodes of one CPU each."""
    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "num_cpus": 0})
    for _ in range(2):
        cluster.add_node(**NODE)
    cluster.wait_for_nodes()
    yield cluster
    cluster.shutdown()


@pytest.fixture
def spread(tmp_path: Path) -> Path:
    """A configuration of trials that run beside each other and do not depend on their order."""
    path = tmp_path / "small.yaml"
    alone = {"trials": 4, "sampler": "random", "num_selected": 2, "scheduler": {"name": "none"}}
    resources = {"concurrent_trials": 2, "cpus_per_trial": 1}
    path.write_text(small_config(search=alone, resources=resources, training={"steps": 30}).to_yaml())
    return path


@pytest.fixture
def undisturbed(spread: Path, tmp_path: Path) -> Path:
    finish(start(spread, tmp_path / "undisturbed"))
    return tmp_path / "undisturbed"


def test_three_nodes_share_a_search(cluster: Cluster, spread: Path, undisturbed: Path, tmp_path: Path) -> None:
    output = finish(start(spread, tmp_path / "run", "--address", cluster.address))
    assert "several nodes and no --storage" in output
    for name in TABLES:
        assert_same(undisturbed, tmp_path / "run", name)
    hosts = {path.parent.name for path in (tmp_path / "run").glob("search/ray-1/trial-*/result.json")}
    assert len(hosts) == 4


@pytest.mark.parametrize("kept", [True, False])
def test_a_node_that_is_lost_costs_no_trial(
    cluster: Cluster, spread: Path, undisturbed: Path, tmp_path: Path, kept: bool
) -> None:
    out = tmp_path / "run"
    storage = ["--storage", str(tmp_path / "shared")] if kept else []
    process = start(spread, out, "--address", cluster.address, *storage)
    while lines(out / "search" / "ledger.jsonl") < 4:  # two trials created, and reports
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    victim = next(iter(cluster.worker_nodes))
    cluster.remove_node(victim, allow_graceful=False)
    cluster.add_node(**NODE)  # as a spot market would give another
    finish(process)
    for name in TABLES:
        assert_same(undisturbed, out, name)


def test_nodes_that_an_autoscaler_has_yet_to_start(spread: Path, undisturbed: Path, tmp_path: Path) -> None:
    port = free_port()
    options, environment = autoscaling(tmp_path, workers=2, port=port)
    with head(*options, port=port, **environment) as cluster:
        finish(start(spread, tmp_path / "run", "--address", cluster.address))
    for name in TABLES:
        assert_same(undisturbed, tmp_path / "run", name)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket on a server that speaks the protocol of S3; for subprocesses and Ray's workers, too."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    import boto3

    boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1").create_bucket(Bucket="slat")
    yield f"s3://slat/runs?scheme=http&endpoint_override={host}:{port}&region=us-east-1"
    server.stop()


def checkpoints(bucket: str) -> list[str]:
    files, root = FileSystem.from_uri(bucket)
    result = files.get_file_info(FileSelector(root, recursive=True, allow_not_found=True))
    return [info.path for info in result if info.base_name == "state.pt"]


def test_checkpoints_on_s3(bucket: str, run: tuple[Path, str], config: Path, tmp_path: Path) -> None:
    """Killed in the middle of a trial, a search goes on from what lies in the bucket."""
    out = tmp_path / "run"
    process = start(config, out, "--storage", bucket)
    while not checkpoints(bucket):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert "goes on from its checkpoint" in finish(start(config, out, "--resume", "--storage", bucket))
    for name in TABLES:
        assert_same(run[0], out, name)
    assert not checkpoints(bucket)  # nothing goes on from them
    assert not list(out.glob("search/ray-*"))


def test_a_job_that_is_submitted(run: tuple[Path, str], config: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with head("--num-cpus=2") as cluster:
        slat = ["slat", "run", str(config), "--out", str(out)]
        submit = [BINARIES / "ray", "job", "submit", "--address", cluster.jobs, "--", *slat]
        done = subprocess.run(submit, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "succeeded" in done.stdout
    for name in TABLES:
        assert_same(run[0], out, name)


@pytest.mark.parametrize("theirs", [{"RAY_AUTH_TOKEN": "a" * 64}, {"RAY_AUTH_TOKEN": "", "RAY_AUTH_MODE": "disabled"}])
def test_another_token_or_none_is_one_sentence(config: Path, tmp_path: Path, theirs: dict[str, str]) -> None:
    with head("--num-cpus=1") as cluster:
        process = start(config, tmp_path / "run", "--address", cluster.address, **theirs)
        output, _ = process.communicate(timeout=300)
    assert process.returncode == 2, output
    assert "Traceback" not in output
    assert f"error: --address: no Ray cluster answers at {cluster.address}: " in output
    assert not (tmp_path / "run" / "search").exists()
