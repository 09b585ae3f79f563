"""What is told about the package beside its code: version, extras, licences, citation."""

import configparser
import re
import runpy
import subprocess
from importlib import metadata

import pytest
import yaml

import keras_deepskip as kd
from keras_deepskip import cli
from tests import tiny

pytestmark = pytest.mark.one_backend
CONFIG = configparser.RawConfigParser()
CONFIG.read(tiny.ROOT / "setup.cfg", encoding="utf-8")
LICENCES = runpy.run_path(str(tiny.ROOT / "docs" / "tools" / "licences.py"))


def test_the_version_stands_in_one_place():
    assert metadata.version("keras-deepskip") == kd.__version__
    assert CONFIG["metadata"]["version"] == "attr: keras_deepskip._versions.__version__"
    told = [tiny.ROOT / name for name in ("CITATION.cff", "pyproject.toml", "setup.cfg")]
    found = [path for path in (*told, *(tiny.ROOT / "keras_deepskip").rglob("*.py"))
             if f'"{kd.__version__}"' in path.read_text(encoding="utf-8")]  # fmt: skip
    assert [path.name for path in found] == ["_versions.py"]


def test_the_table_of_extras_is_that_of_setup_cfg():
    text = (tiny.ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    table = text.split("## Extras", 1)[1].split("\n\n")[2]
    rows = [line.split("|")[1] for line in table.splitlines()[2:]]
    told = [name for row in rows for name in re.findall(r"`([\w-]+)`", row)]
    assert sorted(told) == sorted(CONFIG["options.extras_require"])


def test_the_core_install_is_told_in_full():
    text = (tiny.ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    told = re.search(r"The core install brings (.*?)\.", text).group(1)
    needed = re.findall(r"^[\w.-]+", CONFIG["options"]["install_requires"], re.M)
    assert sorted(re.split(r", | and ", told)) == sorted(needed)


def test_licences_are_those_of_what_setup_cfg_asks_for():
    page = (tiny.ROOT / "docs" / "licences.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:4]] for line in page.splitlines()
            if line.startswith("|")][2:]  # fmt: skip
    asked = LICENCES["requirements"]()
    assert {package: extras.split(", ") for package, _, extras in rows} == asked
    assert all(licence for _, licence, _ in rows)
    assert LICENCES["licence_of"]("pillow") == dict(row[:2] for row in rows)["pillow"]


def test_the_citation():
    """The file was also validated by `cffconvert --validate` (schema 1.2.0)."""
    cited = yaml.safe_load((tiny.ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["cff-version"] == "1.2.0" and cited["message"] and cited["authors"]
    assert cited["title"].startswith("keras_deepskip: ")
    assert cited["license"] == CONFIG["metadata"]["license"]
    (paper,) = cited["references"]
    told = (tiny.ROOT / "README.md").read_text(encoding="utf-8").split("## The paper", 1)[1]
    told = " ".join(told.split())
    assert paper["title"] in told and f"doi.org/{paper['doi']}" in told
    assert f"{paper['volume']}({paper['issue']}), {paper['year']}, " in told
    assert f"{paper['start']}-{paper['end']}" in told


def test_a_shell_completes_commands_options_and_choices(capsys, tmp_path):
    assert cli.main(["completion"]) == 0
    script = tmp_path / "completion.bash"
    script.write_text(capsys.readouterr().out, encoding="utf-8")

    def completed(*words):
        code = "source $0; COMP_WORDS=(keras-deepskip $@); COMP_CWORD=$#; "
        code += "_shtab_keras_deepskip; echo ${COMPREPLY[@]}"
        bash = ["bash", "-c", code, script, *words]
        return subprocess.run(bash, check=True, capture_output=True, text=True).stdout.split()

    assert completed("tra") == ["train"] and completed("train", "--minu") == ["--minutes"]
    assert set(completed("completion", "--shell", "")) == {"bash", "zsh", "tcsh"}
