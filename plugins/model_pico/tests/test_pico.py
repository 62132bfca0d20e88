"""What the shipped checkpoint promises: it loads, stays small, and answers the simplest prompts greedily."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoTokenizer

ROOT = Path(__file__).parents[1]
CHECKPOINT = ROOT / "src" / "pie_model_pico" / "checkpoint"
MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(CHECKPOINT)


@pytest.fixture(scope="module")
def model() -> Any:
    return AutoModelForImageTextToText.from_pretrained(CHECKPOINT).eval()


def _complete(model: Any, tokenizer: Any, text: str) -> str:
    """Greedy continuation, special tokens kept."""
    prompt = tokenizer(text, return_tensors="pt")
    with torch.inference_mode():
        tokens = model.generate(**prompt, max_new_tokens=60)
    return str(tokenizer.decode(tokens[0, prompt["input_ids"].shape[1] :]))


def _chat(model: Any, tokenizer: Any, question: str) -> str:
    messages = [{"role": "user", "content": question}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return _complete(model, tokenizer, text).removesuffix("</s>")


def test_the_wheel_holds_checkpoint_and_examples_in_under_twenty_megabytes(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path], cwd=ROOT, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        held = {entry.filename: entry.file_size for entry in file.infolist()}
    source = ROOT / "src"
    data = [path for path in source.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")]
    assert {path.suffix for path in data} == {".safetensors", ".json", ".jinja", ".png"}
    for path in data:
        assert held[path.relative_to(source).as_posix()] == path.stat().st_size
    assert sum(held.values()) < 20 * MEGABYTE


def test_the_checkpoint_is_a_bfloat16_llava_around_a_llama_with_a_tied_head(model: Any) -> None:
    assert model.config.architectures == ["LlavaForConditionalGeneration"]
    assert model.config.vision_config.model_type == "siglip_vision_model"
    assert model.config.text_config.model_type == "llama"
    assert model.dtype == torch.bfloat16
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert model.config.text_config.max_position_embeddings == 2048


def test_the_generation_config_ends_at_the_end_token_and_pads_with_pad(model: Any, tokenizer: Any) -> None:
    assert model.generation_config.eos_token_id == tokenizer.convert_tokens_to_ids("</s>")
    assert model.generation_config.pad_token_id == tokenizer.convert_tokens_to_ids("<pad>")


@pytest.mark.parametrize("text", ["The capital of France is", "", "<|user|>Hi<|assistant|>", "naïve café €5 日本 🎈"])
def test_the_tokenizer_adds_no_token_and_gives_the_text_back(tokenizer: Any, text: str) -> None:
    bare = tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.encode(text, add_special_tokens=True) == bare
    assert tokenizer.decode(bare) == text


def test_every_digit_is_its_own_token(tokenizer: Any) -> None:
    assert tokenizer.tokenize("48.86") == ["4", "8", ".", "8", "6"]


def test_the_chat_template_marks_each_role_and_ends_each_answer(tokenizer: Any) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": "Bye"},
    ]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == "<|system|>Be brief.<|user|>Hi<|assistant|>Hello!</s><|user|>Bye<|assistant|>"


def test_a_plain_prompt_is_completed_with_the_capital_and_ends(model: Any, tokenizer: Any) -> None:
    assert _complete(model, tokenizer, "The capital of France is") == " Paris.</s>"


def test_a_question_is_answered_in_json_that_parses(model: Any, tokenizer: Any) -> None:
    answer = json.loads(_chat(model, tokenizer, "What is the capital of France? Answer in JSON."))
    assert answer == {"name": "Paris", "latitude": 48.86, "longitude": 2.35}


def test_a_nested_sum_is_worked_out_one_step_per_line(model: Any, tokenizer: Any) -> None:
    assert _chat(model, tokenizer, "What is (3 + 4) * 2?") == "3 + 4 = 7\n7 * 2 = 14\nAnswer: 14"


def test_unseen_words_are_repeated_exactly(model: Any, tokenizer: Any) -> None:
    assert _chat(model, tokenizer, "Repeat: vexil zorp 731 plim") == "vexil zorp 731 plim"
