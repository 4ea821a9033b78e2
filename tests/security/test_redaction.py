"""What is kept out of everything that is written, and what is not."""

import json

import pytest

from proctor.security.redaction import (
    REDACTED,
    redact,
    redact_command,
    redact_for_comparison,
    redact_text,
    secrets_in,
    secrets_in_command,
)

SECRET_NAMES = [
    "hf_token", "API_KEY", "apikey", "apiKey", "client-secret", "password", "Password2", "tokens", "token", "auth",
    "Authorization", "Proxy-Authorization", "oauth2", "authToken", "pwd", "pass", "db_pass", "passwd", "passphrase",
    "credential", "credentials", "aws_secret_access_key", "private_key", "ssh_key", "openai_key", "bearer", "cookie",
    "Set-Cookie", "session", "session_id", "sessionToken", "X-Api-Key", "authkey", "accessKey", "access_token", "jwt",
    "pw", "db_pw",
]  # fmt: skip
HARMLESS_NAMES = [
    "tokenizer", "tokenizer_name", "tokenizer_max_length", "bos_token", "pad_token_id", "image_token", "n_tokens",
    "tokens_all", "lang_tokens", "special_tokens", "token_pooling", "success_key", "success-key", "image_key", "key",
    "keys", "exclude_keys", "key_camera", "keypoints", "keyboard", "monkey", "author", "authors", "passes", "n_passes",
    "two_pass", "compass", "bypass", "observation.images.token", "observation.key", "session_type", "secretary", "task",
    "api_key_env", "api_token_file",
]  # fmt: skip


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_secrets_are_redacted_at_any_depth(name):
    """Also inside lists, below the name, in a pair, and in a text of JSON."""
    config = {"a": [{name: "hunter2"}], "b": {name: {"inner": ["hunter2"]}}, "c": [[name, "hunter2"]]}
    config["d"] = [{"name": name, "value": "hunter2"}]

    assert "hunter2" not in json.dumps(redact(config))
    assert "hunter2" not in redact(json.dumps(config))
    assert redact({name: "x"}) == {name: REDACTED}


@pytest.mark.parametrize("name", HARMLESS_NAMES)
def test_what_is_no_secret_stays(name):
    """Tokenizers of policies, keys of data and names of cameras are needed to run it again."""
    config = {name: "image", "inner": [{name: ["a", {"b": "c"}]}]}

    assert redact(config) == config
    assert redact(json.dumps(config)) == json.dumps(config)


def test_numbers_and_truths_stay_unless_they_are_a_password():
    """A number of tokens is in the configuration of many a policy."""
    config = {"n_tokens": 64, "token": 3, "use_key": True, "pass": None, "token_": "", "password": True}

    assert redact(config) == config
    assert redact({"password": 1234}) == {"password": REDACTED}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://user:hunter2@host/x", "https://user:<redacted>@host/x"),
        ("https://hunter2@github.com/a/b", "https://<redacted>@github.com/a/b"),
        ("redis://:hunter2@host:6379", "redis://:<redacted>@host:6379"),
        ("https://host/x?a=b&token=hunter2&c=d", "https://host/x?a=b&token=<redacted>&c=d"),
        ("https://host/x?sig=hunter2", "https://host/x?sig=<redacted>"),
        ("https://host/x?X-Amz-Signature=hunter2", "https://host/x?X-Amz-Signature=<redacted>"),
        ("https://host/x#access_token=hunter2", "https://host/x#access_token=<redacted>"),
        ("https://user:hun@ter2@host/x", "https://user:<redacted>@host/x"),
        ("cannot clone //user:hunter2@host/x", "cannot clone //user:<redacted>@host/x"),
        ("--user me --password hunter2 --rate 2", "--user me --password <redacted> --rate 2"),
        ('--token "hunter2 hunter2"', '--token "<redacted>"'),
        ("Bearer hunter2", "Bearer <redacted>"),
        ("Basic aHVudGVyMg==", "Basic <redacted>"),
        ("{api_key: hunter2, task: reach}", '{"api_key": "<redacted>", "task": "reach"}'),
        ("{api_key: hunter2, task: reach", "{api_key: <redacted>, task: reach"),
        ("host=a password=hunter2 user=b", "host=a password=<redacted> user=b"),
        ("{'token': 'hunter2'}", '{"token": "<redacted>"}'),
        ("{auth: {user: hunter2}}", '{"auth": {"user": "<redacted>"}}'),
        ('{"p\\u0077d": "hunter2"}', '{"pwd": "<redacted>"}'),
        ("It got {'token': 'hunter2'}", "It got {'token': '<redacted>'}"),
        ("env.api_key is 'hunter2': expected `int`", "env.api_key is '<redacted>': expected `int`"),
        ("hf_abcdefghijklmnopqrstuv", "<redacted>"),
        ("ssh://git@host/a", "ssh://git@host/a"),
        ("https://host/a?page=2&task=b", "https://host/a?page=2&task=b"),
        ("the bearer of the red block", "the bearer of the red block"),
        ("user/repo@main", "user/repo@main"),
        ("//server/share@2", "//server/share@2"),
        ("a//b@c", "a//b@c"),
        ("give --eval.n_episodes 3 or --tokenizer gpt2", "give --eval.n_episodes 3 or --tokenizer gpt2"),
        ("a: b, c = d", "a: b, c = d"),
    ],
)
def test_a_text_is_redacted_by_what_it_looks_like(text, shown):
    """Addresses with a password, headers, and names with values."""
    assert redact(text) == shown
    assert redact(shown) == shown


def test_commands_are_redacted_in_every_spelling():
    """``--name=value``, ``--name value``, bare ``name=value``, and JSON in either."""
    command = ["proctor", "eval", "--hf_token=a", "--api-key", "b", "policy.secret=c", "--seed=1", "--env.task", "d"]
    command += ['--env.kwargs={"auth": "e", "n": 1}', "--env.kwargs", '{"pwd": "f"}', "--env.url=http://u:g@h/?a=1"]

    assert redact_command(command) == (
        "proctor", "eval", f"--hf_token={REDACTED}", "--api-key", REDACTED, f"policy.secret={REDACTED}",
        "--seed=1", "--env.task", "d", '--env.kwargs={"auth": "<redacted>", "n": 1}', "--env.kwargs",
        '{"pwd": "<redacted>"}', "--env.url=http://u:<redacted>@h/?a=1",
    )  # fmt: skip


def test_what_is_redacted_for_comparison_still_tells_secrets_apart():
    """The same secret is the same digest, wherever and whenever; it is not a plain one, which could be guessed."""
    one, other = ({"api_key": secret, "url": f"http://u:{secret}@h"} for secret in ("hunter2", "hunter3"))

    assert redact_for_comparison(one) == redact_for_comparison(dict(one))
    assert redact_for_comparison(one) != redact_for_comparison(other)
    assert redact_for_comparison(redact_for_comparison(one)) == redact_for_comparison(one)
    assert "hunter" not in str(redact_for_comparison(one))
    assert len(redact_for_comparison(one)["api_key"]) == len("<redacted-123456>")


def test_a_message_is_freed_of_the_secrets_that_are_known():
    """An environment may say what it was given."""
    secrets = secrets_in({"api_key": "hunter2", "pwd": "a", "url": "http://u:hunter3@h"})

    assert secrets == ["hunter2", "hunter3"]
    assert redact_text("No entry for hunter2 or hunter3, a user.", secrets) == (
        "No entry for <redacted> or <redacted>, a user."
    )
    assert secrets_in_command(["eval", "--env.kwargs", '{"token": "hunter4"}', "--pwd=hunter5"]) == [
        "hunter4",
        "hunter5",
    ]


@pytest.mark.parametrize("text", ["x" * 10**6, "a-" * 10**6, "://" * 10**6, "sk-" * 10**5, "a: " * 10**5])
def test_a_long_message_is_looked_through_once(text):
    """A simulator's may have megabytes; a pattern that begins again at every character would take hours."""
    assert redact_text(text) == text
