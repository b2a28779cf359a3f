from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).parent.parent
CLUSTERS = ROOT / "experiments" / "clusters"


@pytest.mark.parametrize("path", [ROOT / "cluster.yaml", CLUSTERS / "on_premises.yaml"], ids=lambda p: p.stem)
def test_cluster_yaml_is_valid_for_ray(path: Path) -> None:
    validate_config(prepare_config(yaml.safe_load(path.read_text())))


def test_the_job_mounts_what_its_command_names() -> None:
    spec = yaml.safe_load((CLUSTERS / "rayjob.yaml").read_text())["spec"]
    cluster = spec["rayClusterSpec"]
    templates = [cluster["headGroupSpec"]["template"], *(g["template"] for g in cluster["workerGroupSpecs"])]
    for template in templates:
        volumes = {volume["name"] for volume in template["spec"]["volumes"]}
        mounts = template["spec"]["containers"][0]["volumeMounts"]
        assert {mount["name"] for mount in mounts} == volumes
        assert all(mount["mountPath"] in spec["entrypoint"] for mount in mounts)
    assert yaml.safe_load(spec["runtimeEnvYAML"]).keys() == {"env_vars"}
