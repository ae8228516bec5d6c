"""Rendered batch scripts: golden files, quoting, and errors in templates."""

import subprocess
from pathlib import Path

import pytest

from aiperf_orch.schedulers import local, script_rendering
from aiperf_orch.schedulers.base import JobRequest
from aiperf_orch.schedulers.local import LocalScheduler
from aiperf_orch.schedulers.script_rendering import render_script, scripts_sha256
from aiperf_orch.settings.models import LocalSettings
from aiperf_orch.util.errors import UsageError

GOLDEN = Path(__file__).parent / "golden"


def rendered(monkeypatch, campaign="/scratch/me/campaign", **settings):
    monkeypatch.setattr(local, "available_cores", lambda: ["2", "3"])
    monkeypatch.setattr(local, "_processes", list)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-2f, 5")
    scheduler = LocalScheduler(LocalSettings.model_validate({"python": "/opt/python/bin/python"} | settings))
    folder = Path(campaign) / "jobs" / "00042-1"
    return scheduler.render(
        JobRequest("qk3f9-00042-1", folder, folder, Path(campaign), ("python", "-m", "aiperf_orch.trial"))
    )


def test_the_local_script_matches_the_golden_file(monkeypatch):
    script = rendered(monkeypatch, cores_per_trial=2, setup=["module load python", "export LANG=C"])
    assert script == (GOLDEN / "local.sh").read_text()


def test_a_local_trial_sees_only_its_own_gpus(monkeypatch):
    assert "CUDA" not in rendered(monkeypatch)
    assert "\nexport AIPERF_ORCH_ACCELERATORS=2 CUDA_VISIBLE_DEVICES=GPU-2f,5\n" in rendered(
        monkeypatch, gpus_per_trial=2
    )


@pytest.mark.parametrize(
    "name", ["a b", "it's", 'double "quotes"', "$(touch pwned)", "`touch pwned`", "; touch pwned #", "ü"]
)
def test_no_path_can_inject_a_command(monkeypatch, tmp_path, name):
    campaign = tmp_path / name
    (campaign / "jobs" / "00042-1").mkdir(parents=True)
    campaign.chmod(0o700)
    script = rendered(monkeypatch, campaign=str(campaign), python="/bin/true " + name)
    assert subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True).returncode == 0
    subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, timeout=60)
    assert not list(tmp_path.rglob("pwned"))


@pytest.mark.parametrize("writable", [False, True])
def test_a_script_tells_a_missing_campaign_from_an_untrusted_one(monkeypatch, tmp_path, writable):
    campaign = tmp_path / "campaign"
    if writable:
        campaign.mkdir()
        campaign.chmod(0o777)
    done = subprocess.run(
        ["bash", "-c", rendered(monkeypatch, campaign=str(campaign))], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 78
    assert ("others can write it" in done.stderr) is writable
    assert (f"does not see {campaign}" in done.stderr) is not writable


def test_a_sites_own_template_is_used(monkeypatch, tmp_path):
    (tmp_path / "own.sh.j2").write_text("#!/bin/sh\n# {{ name }}\ncd {{ folder | sh }} && {{ command }}\n")
    assert rendered(monkeypatch, template=str(tmp_path / "own.sh.j2")).startswith(
        "#!/bin/sh\n# qk3f9-00042-1\ncd /scratch"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("line\n{{ nmae }}\n", "'nmae' is undefined"),
        ("line\n{% for %}\n", r":2: not a valid template"),
        ("{{ name.missing.deeper }}", "cannot be rendered"),
    ],
)
def test_a_broken_template_is_named_with_its_error(tmp_path, text, message):
    own = tmp_path / "own.sh.j2"
    own.write_text(text)
    with pytest.raises(UsageError, match=message) as error:
        render_script("local.sh.j2", str(own), name="x")
    assert str(own) in str(error.value)


def test_an_edited_template_is_read_again(tmp_path):
    own = tmp_path / "own.sh.j2"
    for text in ("first {{ x }}\n", "second {{ x }}\n"):
        own.write_text(text)
        assert render_script("local.sh.j2", str(own), x=1) == text.replace("{{ x }}", "1")


def test_a_missing_template_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"scheduler.template: .*no.j2: cannot be read: No such file"):
        render_script("local.sh.j2", str(tmp_path / "no.j2"))


def test_a_sites_template_may_include_existing_parts_of_ours(tmp_path):
    own = tmp_path / "own.sh.j2"
    own.write_text('{% include "guard.sh.j2" %}\necho ours\n')
    assert "refused: $campaign is somebody else's" in render_script("local.sh.j2", str(own), campaign="/c")
    own.write_text('{% include "nothing.j2" %}\n')
    with pytest.raises(UsageError, match=r"own\.sh\.j2: cannot be rendered: nothing\.j2"):
        render_script("local.sh.j2", str(own))


def test_the_digest_of_scripts_changes_with_the_module_that_they_run(monkeypatch):
    """A package of a version with another module is not compared with what this one renders."""
    before = scripts_sha256()
    monkeypatch.setattr(script_rendering, "SUBMIT_MODULE", "submitit.core._submit")
    scripts_sha256.cache_clear()
    try:
        assert scripts_sha256() != before
    finally:
        scripts_sha256.cache_clear()
