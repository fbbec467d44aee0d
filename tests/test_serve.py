"""The endpoint, asked by the real `openai` client over loopback."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest
import torch
from handmade.inference import serve
from handmade.inference.engine import Request
from handmade.inference.generate import generate
from handmade.inference.serve_protocol import IMPLEMENTED, INERT, REQUIRED
from handmade.inference.serve_text import TextStream
from handmade.inference.serve_worker import EngineFailed, Job
from serve_helpers import (
    END,
    IDLE,
    PATIENCE,
    SIZES,
    byte_tokenizer,
    client,
    health,
    post,
    saying,
    served,
    service,
    tiny_llama,
    wait_for,
)

ASK = {"model": "tiny", "prompt": "x"}
TALK = {"model": "tiny", "messages": [{"role": "user", "content": "x"}]}
UNICODE = "naïve 🙂 日本語 – 👩‍👩‍👧 ok"


def one(messages):
    """A chat template of one token."""
    return messages[-1]["content"][:1]


@pytest.fixture(scope="module")
def tiny():
    # none is refused, even if all come between two steps
    made = service(chat=one, special=["<end>"], max_waiting=32)
    with served(made) as each:
        yield each


@pytest.fixture(scope="module")
def unicode():
    with served(saying(UNICODE, chat=one)) as each:
        yield each


def ours(prompt: str, n: int) -> str:
    """What `generate` says, alone, after a prompt."""
    ids = torch.tensor([[*prompt.encode()]])
    new = generate(tiny_llama(), ids, max_new_tokens=n, eos_id=END)
    found = new[0, ids.shape[1] :].tolist()
    return byte_tokenizer().decode(found, skip_special_tokens=True)


def joined(stream) -> str:
    return "".join(c.choices[0].text for c in stream if c.choices)


def talked(stream) -> str:
    deltas = [c.choices[0].delta for c in stream if c.choices]
    assert deltas[0].role == "assistant"
    return "".join(delta.content or "" for delta in deltas)


# -- what is said


@pytest.mark.parametrize("prompt", ["x", "to be", "ü🙂"])
def test_a_completion_is_what_generate_says(tiny, prompt):
    want = ours(prompt, 40)
    asked = {"model": "tiny", "prompt": prompt, "temperature": 0}
    done = tiny.completions.create(**asked, max_tokens=40)
    assert done.choices[0].text == want
    ids = [*prompt.encode()]
    done = tiny.completions.create(**asked | {"prompt": ids}, max_tokens=40)
    assert done.choices[0].text == want
    stream = tiny.completions.create(**asked, max_tokens=40, stream=True)
    assert joined(stream) == want
    assert done.choices[0].finish_reason == "length"


def test_a_chat_is_what_generate_says_after_the_template(tiny):
    done = tiny.chat.completions.create(**TALK, temperature=0, max_tokens=30)
    assert done.choices[0].message.content == ours("x", 30)
    assert done.choices[0].message.role == "assistant"
    stream = tiny.chat.completions.create(
        **TALK, temperature=0, max_completion_tokens=30, stream=True
    )
    assert talked(stream) == ours("x", 30)


def test_an_answer_goes_back_as_part_of_the_conversation(tiny):
    asked = {"model": "tiny", "temperature": 0, "max_tokens": 5}
    first = tiny.chat.completions.create(**asked, messages=TALK["messages"])
    said = first.choices[0].message
    content = [{"type": "text", "text": "x"}]
    again = [said.model_dump(), {"role": "user", "content": content}]
    done = tiny.chat.completions.create(**asked, messages=again)
    assert done.choices[0].message.content == ours("x", 5)


def test_without_a_limit_a_chat_goes_on_to_the_end_of_the_room(tiny):
    done = tiny.chat.completions.create(**TALK, temperature=0)
    assert done.usage.total_tokens == 64 * 4 + 1  # all pages, and the last
    assert done.choices[0].finish_reason == "length"
    done = tiny.completions.create(**ASK, temperature=0)
    assert done.usage.completion_tokens == 16


def test_what_a_seed_says_it_says_again_and_who_has_none_is_free(tiny):
    def say(**options):
        done = tiny.completions.create(**ASK, max_tokens=24, **options)
        return done.choices[0].text

    assert say(seed=3) == say(seed=3) != say(seed=4)
    assert say() != say()
    alone = torch.tensor([[ord("x")]])
    drawn = generate(
        tiny_llama(),
        alone,
        max_new_tokens=24,
        temperature=0.7,
        top_p=0.8,
        top_k=50,
        min_p=0.01,
        generator=torch.Generator().manual_seed(5),
    )
    more = {"top_k": 50, "min_p": 0.01}
    found = say(seed=5, temperature=0.7, top_p=0.8, extra_body=more)
    assert found == byte_tokenizer().decode(drawn[0, 1:].tolist())


def test_what_cuts_nothing_and_greedy_with_a_filter_are_taken(tiny):
    cold = {"temperature": 0, "top_p": 0.5, "extra_body": {"top_k": 3}}
    done = tiny.completions.create(**ASK, max_tokens=9, **cold)
    assert done.choices[0].text == ours("x", 9)
    texts = {
        tiny.completions.create(**ASK, seed=1, **also).choices[0].text
        for also in ({}, {"top_p": 1.0, "extra_body": {"min_p": 0}})
    }
    assert len(texts) == 1


def test_many_at_once_each_get_what_they_get_alone(tiny):
    prompts = [f"{'ab' * n}{n}" for n in range(12)]

    def ask(prompt):
        asked = {"model": "tiny", "prompt": prompt, "temperature": 0}
        if len(prompt) % 2:
            stream = tiny.completions.create(**asked, stream=True)
            return joined(stream)
        return tiny.completions.create(**asked).choices[0].text

    with ThreadPoolExecutor(len(prompts)) as pool:
        found = [*pool.map(ask, prompts)]
    assert found == [ours(prompt, 16) for prompt in prompts]
    wait_for(tiny, **IDLE)


# -- text


def test_no_chunk_holds_half_a_character(unicode):
    stream = unicode.completions.create(
        **ASK, temperature=0, max_tokens=100, stream=True
    )
    pieces = [c.choices[0].text for c in stream]
    assert "".join(pieces) == UNICODE
    assert not any("\ufffd" in piece for piece in pieces)
    assert len([piece for piece in pieces if piece]) == len(UNICODE)
    stream = unicode.chat.completions.create(**TALK, stream=True)
    assert talked(stream) == UNICODE


def test_a_text_cut_inside_a_character_shows_that(unicode):
    n = len("naïve ".encode()) + 2  # half of the smile
    done = unicode.completions.create(**ASK, max_tokens=n)
    assert done.choices[0].text == "naïve \ufffd"
    assert done.choices[0].finish_reason == "length"


@pytest.mark.parametrize(
    ("stop", "want"),
    [
        ("日本", "naïve 🙂 "),
        (["nowhere", "語 –"], "naïve 🙂 日本"),
        (["ok", "ok!"], UNICODE.removesuffix("ok")),
        ("ok!", UNICODE),  # begun, held back, and never complete
        ("n", ""),
    ],
)
def test_a_stop_string_ends_the_text_and_is_not_sent(unicode, stop, want):
    asked = {**ASK, "temperature": 0, "max_tokens": 100, "stop": stop}
    done = unicode.completions.create(**asked)
    assert done.choices[0].text == want
    assert done.choices[0].finish_reason == "stop"
    assert joined(unicode.completions.create(**asked, stream=True)) == want
    wait_for(unicode, **IDLE)


def test_usage_counts_the_tokens_that_were_made(unicode):
    n = len(UNICODE.encode())
    asked = {**ASK, "temperature": 0, "max_tokens": 100}
    usage = unicode.completions.create(**asked).usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (1, n + 1)
    assert usage.total_tokens == n + 2  # the end token is one
    usage = unicode.completions.create(**asked, stop="e").usage
    assert usage.completion_tokens == len("naïve".encode())
    option = {"stream": True, "stream_options": {"include_usage": True}}
    *chunks, last = unicode.completions.create(**asked, **option)
    assert all(c.usage is None and c.choices for c in chunks)
    assert (last.choices, last.usage.completion_tokens) == ([], n + 1)
    *_, last = unicode.chat.completions.create(**TALK, **option)
    assert last.usage.total_tokens == n + 2


def test_a_stream_is_server_sent_events_with_an_end(unicode):
    found = post(unicode, {**ASK, "stream": True})
    assert found.headers["content-type"] == "text/event-stream"
    *events, end, empty = found.text.split("\n\n")
    assert (end, empty) == ("data: [DONE]", "")
    bodies = [json.loads(event.removeprefix("data: ")) for event in events]
    assert len({body["id"] for body in bodies}) == 1
    assert bodies[-1]["choices"][0]["finish_reason"] == "length"
    assert all("usage" not in body for body in bodies)
    option = {"stream": True, "stream_options": {"include_usage": True}}
    *events, _, _ = post(unicode, ASK | option).text.split("\n\n")
    bodies = [json.loads(event.removeprefix("data: ")) for event in events]
    *usages, last = [body["usage"] for body in bodies]
    assert set(usages) == {None}
    assert last["completion_tokens"] == 16


def test_an_end_token_is_counted_and_not_said():
    """Also one that is a letter like others."""
    with served(saying("to be!", eos_ids=[ord("!")])) as each:
        done = each.completions.create(**ASK)
        assert done.choices[0].text == "to be"
        assert done.choices[0].finish_reason == "stop"
        assert done.usage.completion_tokens == len("to be!")


# -- what is refused


def error_of(found: httpx.Response, status: int) -> dict:
    assert found.status_code == status, found.text
    assert found.json().keys() == {"error"}
    error = found.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    return error


@pytest.mark.parametrize("kind", ["completion", "chat"])
@pytest.mark.parametrize("value", [None, 7])
def test_an_unknown_field_is_refused_by_name(tiny, kind, value):
    path = {"completion": "completions", "chat": "chat/completions"}[kind]
    body = {"completion": ASK, "chat": TALK}[kind] | {"beams": value}
    error = error_of(post(tiny, body, path), 400)
    assert error["message"].startswith("beams: got ")
    assert error["param"] == "beams"
    assert error["type"] == "invalid_request_error"


STRANGE = {"n": True, "best_of": True, "echo": 0, "logprobs": 0, "store": 0}
FIELDS = sorted((kind, key) for kind in REQUIRED for key in REQUIRED[kind])


@pytest.mark.parametrize(("kind", "key"), FIELDS)
def test_a_field_with_one_value_takes_it_and_no_other(tiny, kind, key):
    path = {"completion": "completions", "chat": "chat/completions"}[kind]
    body = {"completion": ASK, "chat": TALK}[kind] | {"max_tokens": 1}
    for value in REQUIRED[kind][key]:
        assert post(tiny, body | {key: value}, path).status_code == 200
    # 1 is not true, and true is no number, whatever Python says
    for value in ("strange", 2, ["x"], {"x": 1}, STRANGE.get(key, "x")):
        error = error_of(post(tiny, body | {key: value}, path), 400)
        assert error["param"] == key
        assert error["message"].startswith(f"{key}: got {json.dumps(value)}")


def test_every_field_that_the_client_can_send_is_in_a_list():
    """A newer client may know more: those are refused by their names."""
    kinds = {
        "completion": openai.types.completion_create_params,
        "chat": openai.types.chat.completion_create_params,
    }
    for kind, module in kinds.items():
        fields = module.CompletionCreateParamsNonStreaming.__annotations__
        fields |= module.CompletionCreateParamsBase.__annotations__
        ours = IMPLEMENTED[kind] | REQUIRED[kind].keys() | INERT
        assert fields.keys() - ours <= {
            "moderation", "prompt_cache_options", "prompt_cache_retention",
        }  # fmt: skip
        assert not IMPLEMENTED[kind] & REQUIRED[kind].keys() & INERT


WRONG = [
    ({"prompt": None}, "prompt"),
    ({"prompt": ""}, "prompt"),
    ({"prompt": []}, "prompt"),
    ({"prompt": ["x", "y"]}, "prompt"),
    ({"prompt": [1.5]}, "prompt"),
    ({"prompt": [True]}, "prompt"),
    ({"prompt": [257]}, "prompt"),
    ({"prompt": [-1]}, "prompt"),
    ({"model": None}, "model"),
    ({"model": 3}, "model"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": 2.0}, "max_tokens"),
    ({"max_tokens": True}, "max_tokens"),
    ({"max_tokens": 10**30}, "max_tokens"),
    ({"max_tokens": 300}, "max_tokens"),
    ({"prompt": "x" * 400}, "max_tokens"),
    ({"temperature": -0.1}, "temperature"),
    ({"temperature": 2.1}, "temperature"),
    ({"temperature": "hot"}, "temperature"),
    ({"temperature": True}, "temperature"),
    ({"top_p": 1.1}, "top_p"),
    ({"min_p": -1}, "min_p"),
    ({"top_k": 0}, "top_k"),
    ({"seed": 0.5}, "seed"),
    ({"seed": -1}, "seed"),
    ({"stop": ""}, "stop"),
    ({"stop": 0}, "stop"),
    ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
    ({"stop": ["a", None]}, "stop"),
    ({"stream": "yes"}, "stream"),
    ({"stream_options": {"include_usage": True}}, "stream_options"),
    ({"stream": True, "stream_options": 1}, "stream_options"),
    (
        {"stream": True, "stream_options": {"include_usage": 1}},
        "include_usage",
    ),
    (
        {"stream": True, "stream_options": {"x": None}},
        "stream_options.x",
    ),
    ({"messages": []}, "messages"),
]


@pytest.mark.parametrize(("change", "param"), WRONG)
def test_a_wrong_value_is_refused_by_name(tiny, change, param):
    error = error_of(post(tiny, ASK | change), 400)
    assert error["param"] == param
    assert f"{param}: got " in error["message"]
    assert "want" in error["message"]


WRONG_TURNS = [
    ([], "messages"),
    ("x", "messages"),
    (["x"], "messages[0]"),
    ([{"role": "tool", "content": "x"}], "messages[0].role"),
    ([{"role": "user"}], "messages[0].content"),
    ([{"role": "user", "content": 3}], "messages[0].content"),
    ([{"role": "user", "content": [{"type": "image"}]}],
     "messages[0].content"),
    ([{"role": "user", "content": "x", "name": "me"}], "messages[0].name"),
    ([{"role": "user", "content": "a<end>b"}], "messages[0].content"),
]  # fmt: skip


@pytest.mark.parametrize(("messages", "param"), WRONG_TURNS)
def test_a_wrong_message_is_refused_by_its_place(tiny, messages, param):
    body = TALK | {"messages": messages}
    error = error_of(post(tiny, body, "chat/completions"), 400)
    assert error["param"] == param


def test_two_names_for_one_number_must_agree(tiny):
    both = TALK | {"max_tokens": 2, "max_completion_tokens": 2}
    assert post(tiny, both, "chat/completions").status_code == 200
    both |= {"max_tokens": 3}
    error = error_of(post(tiny, both, "chat/completions"), 400)
    assert error["param"] == "max_completion_tokens"


BODIES = [
    b"", b"{", b"[1]", b'"x"', b"null", b"\xff", b'{"model": NaN}',
    b'{"model": "tiny", "model": "tiny", "prompt": "x"}',
    rb'{"model": "tiny", "prompt": "\ud83d"}',
    rb'{"\ud83d": 1}', b"[" * 200_000, b'{"seed": ' + b"9" * 5000 + b"}",
]  # fmt: skip


@pytest.mark.parametrize("body", BODIES)
def test_what_is_no_json_object_is_refused(tiny, body):
    found = httpx.post(
        f"{tiny.base_url}completions",
        content=body,
        headers={"content-type": "application/json"},
        timeout=PATIENCE,
    )
    assert error_of(found, 400)["message"].startswith("body: got ")


def test_the_client_raises_its_own_errors(tiny):
    with pytest.raises(openai.NotFoundError, match="got 'gpt', want 'tiny'"):
        tiny.completions.create(model="gpt", prompt="x")
    with pytest.raises(openai.NotFoundError):
        tiny.models.retrieve("gpt")
    with pytest.raises(openai.BadRequestError, match="n: got 2, want 1"):
        tiny.completions.create(**ASK, n=2)
    with pytest.raises(openai.BadRequestError) as caught:
        tiny.completions.create(**ASK, max_tokens=400)
    assert caught.value.code == "context_length_exceeded"
    assert tiny.models.retrieve("tiny").id == "tiny"
    assert [model.id for model in tiny.models.list()] == ["tiny"]


def test_paths_kinds_and_hosts_that_are_not_ours(tiny):
    assert error_of(post(tiny, ASK, "nowhere"), 404)
    assert error_of(httpx.get(f"{tiny.base_url}completions"), 405)
    # a page in a browser may send this without being asked
    found = post(tiny, ASK, headers={"content-type": "text/plain"})
    assert error_of(found, 415)["message"].startswith("content-type: got")
    found = post(tiny, ASK, headers={"host": "elsewhere.example"})
    assert found.status_code == 400
    assert post(tiny, ASK, headers={"host": "localhost"}).status_code == 200


def test_a_body_that_is_too_large_is_refused():
    with served(service(max_body=2000)) as each:
        with pytest.raises(openai.APIStatusError) as caught:
            each.completions.create(model="tiny", prompt="x" * 2000)
        assert caught.value.status_code == 413
        assert "want at most 2000 bytes" in caught.value.message
        fits = each.completions.create(**ASK, user="u" * 1800)
        assert fits.usage.completion_tokens == 16


def test_a_model_without_a_template_refuses_to_chat():
    def refuses(messages):
        raise RuntimeError("roles must alternate")

    for template, said in ((None, "chat template"), (refuses, "alternate")):
        with served(service(chat=template)) as each:
            with pytest.raises(openai.BadRequestError, match=said):
                each.chat.completions.create(**TALK)
            assert each.completions.create(**ASK).choices


# -- when it is crowded, and when somebody goes


def test_a_full_queue_refuses_and_says_when_to_come_back():
    made = service(steps=1, max_batch=1, max_waiting=1)
    with served(made) as each, ThreadPoolExecutor(1) as pool:
        first = each.completions.create(**ASK, temperature=0, stream=True)
        wait_for(each, running=1, waiting=0)
        second = pool.submit(each.completions.create, **ASK, temperature=0)
        wait_for(each, running=1, waiting=1)
        with pytest.raises(openai.RateLimitError) as caught:
            each.completions.create(**ASK)
        assert caught.value.response.headers["retry-after"] == "1"
        assert caught.value.code == "queue_full"
        assert "want fewer than max_waiting = 1" in caught.value.message
        made.worker.engine.steps = None  # and then everything goes on
        assert joined(first) == ours("x", 16)
        assert second.result().choices[0].text == ours("x", 16)
        wait_for(each, **IDLE)


def test_a_client_that_closes_its_stream_frees_its_pages():
    made = service(steps=3)
    with served(made) as each:
        stream = each.completions.create(**ASK, max_tokens=200, stream=True)
        assert next(iter(stream)).choices
        wait_for(each, running=1)
        assert health(each)["free_pages"] < 64
        stream.close()
        wait_for(each, **IDLE)
        assert not made.worker.engine.has_work


@pytest.mark.parametrize("stream", [False, True])
def test_who_hangs_up_while_waiting_or_running_is_forgotten(stream):
    made = service(steps=1, max_batch=1)
    body = json.dumps({**ASK, "max_tokens": 200, "stream": stream}).encode()
    head = (
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
        "Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode()
    with served(made) as each:
        at = (each.base_url.host, each.base_url.port)
        first, second = (socket.create_connection(at) for _ in range(2))
        with first, second:
            first.sendall(head + body)
            wait_for(each, running=1, waiting=0)
            second.sendall(head + body)
            wait_for(each, running=1, waiting=1)
            second.close()
            wait_for(each, running=1, waiting=0)
            first.close()
            wait_for(each, **IDLE)


def test_who_hangs_up_inside_a_body_does_no_harm(tiny):
    at = (tiny.base_url.host, tiny.base_url.port)
    with socket.create_connection(at) as each:
        each.sendall(
            b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
        )
    assert tiny.completions.create(**ASK).choices


def test_an_engine_that_fails_answers_everybody():
    made = service(steps=1, max_batch=1)
    with served(made) as each, ThreadPoolExecutor(1) as pool:
        first = each.completions.create(**ASK, stream=True)
        wait_for(each, running=1)
        second = pool.submit(each.completions.create, **ASK)
        wait_for(each, waiting=1)
        made.worker.engine.broken = True
        with pytest.raises(openai.APIError, match="a card fell out"):
            joined(first)
        with pytest.raises(openai.InternalServerError, match="RuntimeError"):
            second.result()
        with pytest.raises(openai.InternalServerError):  # and who comes later
            each.completions.create(**ASK)
        assert health(each)["status"] == "failed"
        body = {**ASK, "stream": True}
        assert error_of(post(each, body), 500)["type"] == "server_error"


def test_a_server_that_ends_does_not_wait_for_ever(monkeypatch):
    monkeypatch.setattr(serve, "GRACE", 0)
    made = service(steps=1)
    with served(made) as each:
        stream = each.completions.create(**ASK, stream=True)
        wait_for(each, running=1)
    assert not made.worker.engine.has_work
    with pytest.raises((openai.APIError, httpx.HTTPError)):
        joined(stream)


def test_a_worker_that_stops_leaves_an_idle_engine():
    made = service(steps=1)
    request = Request([1, 2, 3], 9)

    async def go():
        job = Job(request, TextStream(str))
        made.worker.start()
        made.worker.submit(job)
        await job.accepted()
        await asyncio.to_thread(made.worker.stop)
        with pytest.raises(EngineFailed, match="shut down"):
            [piece async for piece in job.pieces()]

    asyncio.run(go())
    assert request.finish_reason == "cancelled"
    assert not made.worker.engine.has_work


def test_a_service_can_be_served_again():
    made = service()
    for _ in range(2):
        with served(made) as each:
            done = each.completions.create(**ASK, temperature=0)
            assert done.choices[0].text == ours("x", 16)


# -- the command


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model of ours, as transformers saves it, with its tokenizer."""
    path = tmp_path_factory.mktemp("tiny-llama")
    tiny_llama().to_hf().save_pretrained(path)
    byte_tokenizer().save(str(path / "tokenizer.json"))
    return path


def started(folder, *options) -> tuple[subprocess.Popen, str]:
    command = [sys.executable, "-m", "handmade.inference.serve"]
    process = subprocess.Popen(
        [*command, "--model", str(folder), "--port", "0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    return process, process.stdout.readline().strip()


INTERRUPT = pytest.param(signal.SIGINT, marks=pytest.mark.slow)


@pytest.mark.parametrize("number", [signal.SIGTERM, INTERRUPT])
def test_the_command_serves_a_folder_until_it_is_told_to_end(folder, number):
    process, url = started(folder, "--name", "mine", "--pages", "40")
    try:
        with client(url) as each:
            asked = {"model": "mine", "prompt": "to be", "temperature": 0}
            done = each.completions.create(**asked)
            assert done.choices[0].text == ours("to be", 16)
            assert health(each)["pages"] == 40
            process.send_signal(number)
            assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        out, err = process.communicate()
    assert (out, err) == ("", "")


def test_a_wrong_command_is_refused(folder, tmp_path, capsys):
    assert serve.main(["--model", str(tmp_path)]) == 2
    assert "model: got" in capsys.readouterr().err
    assert serve.main(["--model", str(folder), "--pages", "0"]) == 2
    assert "n_pages: got 0" in capsys.readouterr().err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert serve.main(["--model", str(folder), "--port", port]) == 2
    assert "in use" in capsys.readouterr().err


def test_help_says_what_another_host_means(capsys):
    with pytest.raises(SystemExit, match="0"):
        serve.main(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "There is no authentication." in said
    for option in ("--model", "--port", "--max-waiting", "--pages"):
        assert option in said


def test_end_tokens_and_a_template_are_read_from_the_folder(folder):
    config = folder / "generation_config.json"
    before = config.read_text()
    config.write_text(json.dumps({"eos_token_id": [END, 3]}))
    template = folder / "chat_template.jinja"
    template.write_text("{{ messages[0].content }}")
    try:
        made = serve.serve_checkpoint(serve.checkpoint(str(folder)))
        assert made.eos_ids == (END, 3)
        assert made.name == folder.name
        assert made.special == ("<end>",)
        assert made.room == SIZES["max_seq_len"]
        assert made.chat([{"role": "user", "content": "so"}]) == "so"
    finally:
        config.write_text(before)
        template.unlink()
    made = serve.serve_checkpoint(serve.checkpoint(str(folder)), name="it")
    assert (made.name, made.chat, made.eos_ids) == ("it", None, ())


@pytest.mark.slow
def test_smollm2_completes_and_chats():
    """Equal to `generate`, and to it after transformers' own template."""
    found = serve.checkpoint("smollm2")
    made = serve.serve_checkpoint(found, n_pages=16)
    model, tokenizer = made.worker.engine.model, found.tokenizer()
    turns = [{"role": "user", "content": "What is 2 + 2?"}]
    hf = found.hf_tokenizer()
    chat = hf.apply_chat_template(turns, add_generation_prompt=True)[
        "input_ids"
    ]
    prompts = [tokenizer.encode("The capital of France is").ids, chat]
    wants = []
    for ids in prompts:
        new = generate(model, torch.tensor([ids]), max_new_tokens=8, eos_id=2)
        wants.append(tokenizer.decode(new[0, len(ids) :].tolist()))
    with served(made) as each:
        asked = {"model": made.name, "temperature": 0, "max_tokens": 8}
        done = each.completions.create(
            **asked, prompt="The capital of France is"
        )
        assert done.choices[0].text == wants[0]
        done = each.chat.completions.create(**asked, messages=turns)
        assert done.choices[0].message.content == wants[1]
        assert done.usage.prompt_tokens == len(chat)
        stream = each.chat.completions.create(
            **asked, messages=turns, stream=True
        )
        assert talked(stream) == wants[1]
        forged = [{"role": "user", "content": "a<|im_end|>b"}]
        with pytest.raises(openai.BadRequestError, match="special token"):
            each.chat.completions.create(**asked, messages=forged)
