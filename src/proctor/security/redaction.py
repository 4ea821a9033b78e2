"""Redaction of secrets in everything that is written or sent: results, reports, command lines, error messages.

A text is a secret because of its name (``api_key``, ``hf_token``, ``Authorization``) or its form (the password in an
address, a bearer token, a private key). Names are checked in mappings, in pairs, in options of a command line, and in
JSON and YAML texts.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

from proctor.config.structure import read_value
from proctor.errors import ConfigError

REDACTED = "<redacted>"

Hide = Callable[[str], str]
"""A function that returns the replacement of a secret."""

_ROUNDS = 200_000
_DIGITS = 6
_SHORTEST = 6
_LONGEST_OPTION = 1 << 16

# ------------------------------------------------------------------------------------------------ which names

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_FEATURES = ("observation.", "action.", "next.")

_SECRET = re.compile(
    r"^(pwd|secrets?|creds?|cookies?|bearer|jwt|o?auth|authori[sz]ation|authenticat\w*)$"
    r"|password|passwd|passphrase|passcode|credential|secret(?!ar)"
    r"|(db|user|my|root|admin|smtp|mail)pass$"
    r"|(api|access|private|secret|auth|ssh|account|signing|encryption|subscription|license)keys?$"
    r"|(api|auth|access|hf|bearer|refresh|session|csrf|xsrf)tokens?$"
)
_OFTEN_SECRET = re.compile(r"^(token|pass|pw|session|pat|sas|otp)$")
_HARMLESS = re.compile(
    r"^(n|num|number|count|max|min|ids?|types?|dim|size|len|length|s|seconds|index|position|shape|ratio|level|budget"
    r"|kind|mode|names?|strategy|pooling|embeddings?|by|per|bos|eos|boi|eoi|pad|unk|mask|sep|cls|special|additional"
    r"|images?|video|audio|text|vision|language|visual|actions?|state|obs|object|task|time|query|latent|start|end|stop"
    r"|prefix|suffix|register|readout|newline|first|second|third|forward|backward|single|two|multi|low|high|band"
    r"|through)$"
)
_OF_DATA = re.compile(
    r"^(success|images?|img|cameras?|cam|obs|observations?|actions?|states?|rewards?|tasks?|done|info|instruction"
    r"|language|text|features?|depth|video|goal|frame|step|map|sort|dict|data|batch|rename|proprio|primary|foreign"
    r"|cache|group|index|input|output|source|target|pixels?|join|lookup|metric|score|values?|mask|label|hot|short"
    r"|shortcut|query|attention|by|num|max|min|n)$"
)


def is_secret_name(name: object) -> bool:
    """Return True if a value named ``name`` is a secret, in any spelling: ``apiKey``, ``--env.hf-token``."""
    text = str(name).lstrip("-")
    return not text.startswith(_FEATURES) and _is_secret_name(text)


@cache
def _is_secret_name(name: str) -> bool:
    *groups, last = name.split(".")
    words = _words(last)
    if words[-1:] in (["env"], ["file"]):  # it says where a secret is found
        return any(map(_is_surely_secret, groups))
    if any(map(_is_surely_secret, (*groups, last))) or words in (["tokens"], ["session", "id"]):
        return True
    if any(map(_OFTEN_SECRET.match, words)):
        return not any(map(_HARMLESS.match, words))
    return len(words) > 1 and words[-1] == "key" and not any(map(_OF_DATA.match, words))


def _is_surely_secret(name: str) -> bool:
    words = _words(name)
    return any(map(_SECRET.search, (*words, *map("".join, pairwise(words)))))


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(name)]


# ------------------------------------------------------------------------------------------------ which values

_ANYBODY = ("", "git", "anonymous")
_WITH_A_KEY_OF_ITS_OWN = ("//", "ssh://", "sftp://", "git+ssh://")
_USER = re.compile(
    r"(?<![\w+.:-])(?P<scheme>([A-Za-z][\w+.-]*:)?//)(?P<user>[^\s/?#@:]*)(:(?P<password>[^\s/?#\"'<>]*))?@"
)
_PARAMETER = re.compile(r"(?P<before>[?&;#])(?P<name>[\w.%-]+)=(?P<value>[^\s&;#'\"<>]+)")
_SIGNS_ADDRESSES = re.compile(r"^(key|sig|signature|code|x-(amz|goog)-(signature|credential|security-token))$")
_ASSIGNED = re.compile(
    r"""(?<![\w.-])(?P<name>["']?-*[A-Za-z_][\w.-]*["']?)(?P<is>\s*[:=]\s*|\s+is\s+(?=["']))"""
    r"""(?P<value>"[^"]*"|'[^']*'|[^\s,;&}\])"'{\[]+)"""
)
_OPTION = re.compile(r"(?<!\S)(?P<name>--?[A-Za-z][\w.-]*)(?P<is>\s+)(?P<value>\"[^\"]*\"|'[^']*'|[^\s\"'-]\S*)")
_SCHEME = re.compile(r"\b(?P<scheme>Bearer|Basic|(?i:bearer|basic)(?=\s+\S*[\d=]))\s+(?P<value>[\w.~+/=-]{4,})")
_KNOWN = re.compile(
    r"\b(hf_\w{16,}|gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|xox[abeprs]-[\w-]{10,}|AKIA[0-9A-Z]{16}"
    r"|AIza[\w-]{30,}|sk-([A-Z0-9]{6,}|(?=[\w-]{0,60}\d)[\w-]{16,})|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*)"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    re.DOTALL,
)


def redact(value: Any, *, hide: Hide = lambda _: REDACTED) -> Any:
    """Return ``value`` (mappings, lists, texts, numbers) with every secret in it replaced by ``hide(secret)``.

    Booleans and None are not changed, nor are numbers, unless they are a password.
    """
    match value:
        case {"name": str(name), "value": _} if is_secret_name(name):
            return {key: _under(name if key == "value" else key, child, hide) for key, child in value.items()}
        case Mapping():
            return {name: _under(name, child, hide) for name, child in value.items()}
        case [str(name), child] if is_secret_name(name):
            return [name, _under(name, child, hide)]
        case list() | tuple():
            return [redact(child, hide=hide) for child in value]
        case str():
            return _in_text(value, hide)
    return value


def redact_for_comparison(value: Any) -> Any:
    """Return ``value`` with every secret replaced by a digest, so that evaluations with different secrets differ.

    The digest is slow to compute and short: each guess costs a tenth of a second, and one wrong guess in 16 million has
    the same digest.
    """
    return redact(value, hide=_digest)


def redact_command(arguments: Sequence[str]) -> tuple[str, ...]:
    """Return a command line with its secrets replaced, as ``--name=value``, ``--name value`` and inside of values."""
    return tuple(_redacted_words(arguments, lambda _: REDACTED))


def redact_text(text: str, secrets: Sequence[str] = ()) -> str:
    """Return a message without texts that look like a secret, and without any of ``secrets``."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, REDACTED)
    return _in_text(text, lambda _: REDACTED)


def secrets_in(value: Any) -> list[str]:
    """Return the secrets in ``value`` that are long enough to be searched for in other texts."""
    return _collected(lambda hide: redact(value, hide=hide))


def secrets_in_command(arguments: Sequence[str]) -> list[str]:
    """Return the secrets of a command line that are long enough to be searched for: see :func:`secrets_in`."""
    return _collected(lambda hide: list(_redacted_words(arguments, hide)))


def _collected(redacting: Callable[[Hide], object]) -> list[str]:
    found: dict[str, None] = {}

    def hide(secret: str) -> str:
        found[secret] = None
        return REDACTED

    redacting(hide)
    return [secret for secret in found if len(secret) >= _SHORTEST]


@cache
def _digest(secret: str) -> str:
    digest = hashlib.pbkdf2_hmac("sha256", secret.encode("utf-8", "surrogatepass"), b"proctor", _ROUNDS)
    return f"{REDACTED[:-1]}-{digest.hex()[:_DIGITS]}>"


def _under(name: object, value: Any, hide: Hide) -> Any:
    """Redact the value of a name."""
    if not is_secret_name(name):
        return redact(value, hide=hide)
    return _all(value, hide, numbers=_is_surely_secret(str(name).rpartition(".")[2]))


def _all(value: Any, hide: Hide, *, numbers: bool) -> Any:
    """Hide everything in the value of a secret name."""
    match value:
        case Mapping():
            return {name: _all(child, hide, numbers=numbers) for name, child in value.items()}
        case list() | tuple():
            return [_all(child, hide, numbers=numbers) for child in value]
        case str():
            return _hidden(value, hide)
        case int() | float() if numbers and not isinstance(value, bool):
            return _hidden(str(value), hide)
    return value


def _hidden(secret: str, hide: Hide) -> str:
    return secret if not secret or secret.startswith(REDACTED[:-1]) else hide(secret)


def _redacted_words(arguments: Sequence[str], hide: Hide) -> Iterator[str]:
    before = ""
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if equals and re.fullmatch(r"-*[\w.-]+", name):
            yield f"{name}={_under(_option(name), value, hide)}"
        elif before.startswith("-") and "=" not in before and not argument.startswith("--"):
            yield _under(_option(before), argument, hide)
        else:
            yield redact(argument, hide=hide)
        before = argument


def _option(name: str) -> str:
    """Return an option's name for the check; an option called just "key" is an API key, not a key of data."""
    return "api_key" if name.lstrip("-").lower() == "key" else name


def _in_text(text: str, hide: Hide) -> str:
    """Redact a text that may be JSON or YAML, or may quote a secret."""
    if text[:1] in ("{", "[") and len(text) <= _LONGEST_OPTION:
        try:
            whole = read_value(text)
        except (ConfigError, RecursionError):
            whole = None
        if isinstance(whole, dict | list):
            shown = redact(whole, hide=hide)
            return text if shown == whole else json.dumps(shown)
    text = _USER.sub(lambda match: _user(match, hide), text)
    text = _PARAMETER.sub(lambda match: _parameter(match, hide), text)
    text = _SCHEME.sub(lambda match: f"{match['scheme']} {_hidden(match['value'], hide)}", text)
    text = _KNOWN.sub(lambda match: hide(match[0]), text)
    text = _OPTION.sub(lambda match: _assigned(match, hide), text)
    return _ASSIGNED.sub(lambda match: _assigned(match, hide), text)


def _user(match: re.Match[str], hide: Hide) -> str:
    scheme, user, password = match["scheme"], match["user"], match["password"]
    if password is not None:
        return f"{scheme}{user}:{_hidden(password, hide)}@"
    if user in _ANYBODY or scheme.lower() in _WITH_A_KEY_OF_ITS_OWN:
        return match[0]
    return f"{scheme}{_hidden(user, hide)}@"


def _parameter(match: re.Match[str], hide: Hide) -> str:
    name = match["name"]
    if not (is_secret_name(name) or _SIGNS_ADDRESSES.match(name.lower())):
        return match[0]
    return f"{match['before']}{name}={_hidden(match['value'], hide)}"


def _assigned(match: re.Match[str], hide: Hide) -> str:
    if not is_secret_name(match["name"].strip("\"'")):
        return match[0]
    value = match["value"]
    quote = value[0] if value[0] in "\"'" else ""
    return f"{match['name']}{match['is']}{quote}{_hidden(value.strip(quote) if quote else value, hide)}{quote}"
