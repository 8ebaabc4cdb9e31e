"""What is wrong with settings is said in words: where it stands, what was expected, what was probably meant."""

import subprocess
import sys
from pathlib import Path

import pytest

from graftline.errors import SettingsError
from graftline.settings import read_settings
from graftline.settings.addresses import address_of

PARAMS = """\
data:
  path: data/rows.csv
base_model:
  uri: path:base
adaptation:
  epochs: 3
registry:
  model: tiny
"""


def said_of(tmp_path: Path, text: str, *assignments: str) -> SettingsError:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError) as caught:
        read_settings(path, list(assignments))
    return caught.value


@pytest.mark.parametrize(
    ("assignment", "said"),
    [("adaptation.epoch=3", "there is no setting epoch; did you mean epochs?"),
     ("adaption.epochs=3", "there is no section adaption; did you mean adaptation?"),
     ("data.epochs=3", "there is no setting epochs; did you mean adaptation.epochs?"),
     ("adaptation.zzz=3", "there is no setting zzz; `graftline settings adaptation` lists what there is"),
     ("zzz.zzz=3", "there is no section zzz; `graftline settings` lists what there is"),
     ("adaptation.epochs=many", "expected a whole number, 1 to 1000"),
     ("data.test_share=0.5", "expected a number, above 0, below 0.5"),
     ("data.labels=7", "expected a list of texts"),
     ("data.kind=txt", "expected one of text, image, audio; did you mean text?"),
     ("adaptation.device=gpu", "expected one of auto, cpu, cuda"),
     ("epochs=7", "expected section.key=value, for example adaptation.epochs=7")],
)  # fmt: skip
def test_an_assignment_is_named_as_it_was_written(tmp_path: Path, assignment: str, said: str) -> None:
    assert str(said_of(tmp_path, PARAMS, assignment)) == f"--set {assignment}: {said}"


@pytest.mark.parametrize("written", ["yes", "NO", "on", "010", "1.0", "2024-01-01", "~"])
def test_a_text_of_which_yaml_makes_something_else_is_to_be_quoted(tmp_path: Path, written: str) -> None:
    said = str(said_of(tmp_path, PARAMS, f"data.labels=[a, {written}]"))
    assert f"data.labels: {written}: YAML reads it as " in said
    assert said.endswith(
        f"""expected text; write it in quotes inside others that the shell takes: '..."{written}"...'"""
    )
    text = PARAMS.replace("data:\n", f"data:\n  labels:\n    - a\n    - {written}\n")
    assert f"line 4: data.labels: {written}: YAML reads it as" in str(said_of(tmp_path, text))
    assert str(said_of(tmp_path, text)).endswith(f"expected text; write it in quotes: '{written}'")
    read = tmp_path / "params.yaml"
    read.write_text(text.replace(f"- {written}", f"- '{written}'"))
    assert read_settings(read).data.labels == ["a", written]


def test_all_faults_of_a_file_are_said_at_once_with_their_lines_and_causes_first(tmp_path: Path) -> None:
    text = PARAMS.replace("  path:", "  pth:").replace("epochs: 3", "epochs: 0").replace("uri: path:base", "uri: gpt2")
    error = said_of(tmp_path, text, "adaptation.strategy=lorra")
    file = tmp_path / "params.yaml"
    assert error.sentence == f"{file}: 5 settings are wrong"
    assert [cause.partition("; write")[0] for cause in error.causes] == [
        f"{file}, line 2: data.pth: there is no setting pth; did you mean path?",
        f"{file}, line 1: data.path: must be given: The table, below the project folder: CSV, JSON Lines (.jsonl) or"
        " Parquet",
        f"{file}, line 4: base_model.uri: 'gpt2' is no whole address",
        "--set adaptation.strategy=lorra: expected one of feature_extraction, partial, fine_tuning,"
        " probe_then_fine_tune, contrastive, gradual_unfreezing, lora, bias_only, norm_only, auto; did you mean lora?",
        f"{file}, line 6: adaptation.epochs: 0: expected a whole number, 1 to 1000",
    ]


def test_a_fault_between_settings_names_the_assignments_that_take_part(tmp_path: Path) -> None:
    said = str(said_of(tmp_path, PARAMS, "adaptation.runtime=openvino", "adaptation.device=cuda"))
    assert said.startswith(
        f"{tmp_path / 'params.yaml'}, line 5 with --set adaptation.runtime=openvino --set adaptation.device=cuda:"
        " adaptation: runtime openvino with device cuda"
    )


def test_several_assignments_without_a_section_are_said_at_once(tmp_path: Path) -> None:
    assert len(said_of(tmp_path, PARAMS, "epochs=3", "seed", "adaptation.epochs=4").causes) == 2


def test_a_section_that_is_missing_or_a_single_value_is_named(tmp_path: Path) -> None:
    error = said_of(tmp_path, "data: 5\nbase_model: {uri: 'path:base'}\n")
    assert [cause.rpartition("params.yaml")[2] for cause in error.causes] == [
        ", line 1: data: 5: expected a section with keys such as path, kind, task",
        ": registry: the section must be given, with model, wait_for_servers",
    ]


@pytest.mark.parametrize(
    ("written", "whole"),
    [("bert-base-uncased", "hf:google-bert/bert-base-uncased@REVISION"),
     ("google-bert/bert-base-uncased", "hf:google-bert/bert-base-uncased@REVISION"),
     ("https://huggingface.co/google-bert/bert-base-uncased", "hf:google-bert/bert-base-uncased@REVISION"),
     ("hf:google-bert/bert-base-uncased", "hf:google-bert/bert-base-uncased@REVISION"),
     ("hf:roberta-base@main", "hf:FacebookAI/roberta-base@main"), ("some-model", "hf:ORG/some-model@REVISION")],
)  # fmt: skip
def test_a_short_name_is_told_the_whole_address(written: str, whole: str) -> None:
    with pytest.raises(ValueError, match=r"path:.*package:NAME/FOLDER") as caught:
        address_of(written)
    assert f"write {whole} for the model of the Hugging Face hub" in str(caught.value)


def test_a_mistyped_scheme_is_told_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"has an unknown scheme; .*did you mean package\?"):
        address_of("pakage:a/b")


def test_settings_are_read_without_what_is_heavy(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(PARAMS.replace("epochs: 3", "precision: auto"))
    program = (
        "import sys\nfrom pathlib import Path\nfrom graftline.compute import machine\nfrom graftline.settings import"
        f" read_settings\nread_settings(Path({str(path)!r}))\nfiles_tell = machine.has_bfloat16() is not None and not"
        " machine.may_have_gpu()\nprint(files_tell, 'torch' in sys.modules, 'numpy' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() in (["True", "False", "False"], ["False", "True", "True"])
